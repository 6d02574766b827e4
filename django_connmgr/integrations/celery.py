"""Celery: every task that a worker runs is one unit of work.

The tracer is what a worker calls for a task, in every kind of pool. It sends ``task_prerun`` first
and ``task_postrun`` last, and in between it runs the task, its handlers (``on_success()``, ...),
and what they call in place. So the unit is put around the tracer. ``apply()`` and
``task_always_eager`` build a tracer of their own for each call: a task in place is a part of its
caller's unit, and of its transaction.

What a worker does itself for a task that it revoked, or whose process it lost or killed for its
time limit, is a unit too.

Celery's own support for Django closes connections around every task. In a prefork worker it also
closes the pool, where ``OPTIONS["pool"]`` is set: that is how it keeps forked children from using
their parent's sockets, and it costs two reconnects for each task. Our pools start empty in a forked
child and are given their connections back by the unit, so it does not get to see our connections,
but those of every other engine. ``close_pool()`` keeps its meaning: test runners need it.

Where there are replicas, a message carries what its sender has committed, and the task reads it.
"""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from celery import signals
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..consistency import current_token, require_token
from ..units import unit_of_work

#: The header of a message with the token of what its sender has committed.
HEADER = "connmgr_token"

#: What a worker's requests do outside the tracer that calls hooks or stores results.
_WORKERS_OWN = ("on_failure", "on_timeout", "_announce_revoked", "_announce_cancelled")


def install() -> None:
    """Make the tasks of the workers that start in this process units of work. Idempotent.

    And have the messages that this process sends carry tokens.

    Called when Django is set up, if Celery is loaded by then, as in every ``celery worker``. Call
    it before you start a worker in a process that loads Celery later.
    """
    signals.before_task_publish.connect(_send_token, weak=False, dispatch_uid="django_connmgr")
    # Later, because only a worker needs the modules that are hooked.
    signals.worker_init.connect(hook_worker, weak=False, dispatch_uid="django_connmgr")


def hook_worker(**kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    """Hook the classes that a worker is about to use. Idempotent."""
    from celery.app.task import Task
    from celery.fixups.django import DjangoWorkerFixup
    from celery.worker.request import Request

    if isinstance(vars(DjangoWorkerFixup).get("_db"), property):
        return
    Task.__trace__ = property(lambda task: vars(task).get("_connmgr_tracer"), _set_tracer)
    # Celery sets the attribute once, to ``django.db``.
    DjangoWorkerFixup._db = property(lambda _: _DB, lambda _, module: None)  # noqa: ARG005
    for name in _WORKERS_OWN:
        setattr(Request, name, _in_unit(getattr(Request, name)))


def _send_token(headers: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ARG001
    token = current_token()
    if token is not None and headers is not None:
        headers[HEADER] = token


def _set_tracer(task: Any, tracer: Callable[..., Any] | None) -> None:
    vars(task)["_connmgr_tracer"] = tracer and unit_of_work(task.name)(_with_token(tracer))


def _with_token(tracer: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(tracer)
    def trace(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        require_token((request or {}).get(HEADER))
        return tracer(uuid, args, kwargs, request)

    return trace


def _in_unit(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(request: Any, *args: Any, **kwargs: Any) -> Any:
        with unit_of_work(f"{request.name}: {method.__name__.strip('_')}"):
            return method(request, *args, **kwargs)

    return run


def _without_pool(initialized_only: bool = True) -> list[BaseDatabaseWrapper]:  # noqa: ARG001
    return [
        wrapper
        for wrapper in connections.all(initialized_only=True)
        if getattr(wrapper, "connection_pool", None) is None
    ]


#: What Celery takes for ``django.db``, with the connections that it is to look after.
_DB = SimpleNamespace(connections=SimpleNamespace(all=_without_pool))
