"""Units of work: whatever was leased in one is released when it ends, on whichever thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent import futures
from contextvars import Token, copy_context
from threading import Thread as _Thread
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import HttpRequest, HttpResponseBase

from ._current import find_unit, set_request_unit
from ._pool.owner import current_owner
from ._pool.slot import Lease
from ._pool.unit import Unit, current_unit
from .backends.base import PooledWrapper
from .connections import Block, logger, release_everything
from .signals import unit_finished, unit_started

P = ParamSpec("P")
R = TypeVar("R")


class unit_of_work(Block):  # noqa: N801 - used like a function
    """Release everything that is leased in the block when it ends, on whichever thread.

    Context manager and decorator, sync and async. A nested unit releases only what was
    leased in it. What a transaction holds stays; what another thread is using goes when it
    stops. ``name`` is for errors and signals: a task's name, a message's topic.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._units: list[tuple[Unit, Token[Unit | None], str]] = []

    def __enter__(self) -> Unit:
        unit, token, activity = _begin(self.name)
        self._units.append((unit, token, activity))
        return unit

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _finish(self._leave())

    def _leave(self) -> Unit:
        unit, token, activity = self._units.pop()
        current_owner().activity = activity
        # In another context than it was entered in, nothing is to be restored.
        with contextlib.suppress(ValueError):
            current_unit.reset(token)
        return unit

    async def __aenter__(self) -> Unit:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unit = self._leave()
        # The end of a unit talks to databases, so not on the event loop; and what the ORM
        # leased in this task is the thread's that serves it. A task that is cancelled once
        # more meanwhile does not keep the unit from ending.
        await asyncio.shield(sync_to_async(_finish)(unit))

    def _around(self, function: Callable[..., Any]) -> Callable[[], unit_of_work]:
        # A block for each call: this one remembers its units.
        return functools.partial(unit_of_work, self.name or getattr(function, "__qualname__", ""))


def _begin(name: str) -> tuple[Unit, Token[Unit | None], str]:
    parent = find_unit()
    owner = current_owner()
    if not owner.has_worked:
        owner.has_worked = True
        _release_what_came_before()
    unit = Unit(name, parent)
    activity, owner.activity = owner.activity, name or owner.activity
    token = current_unit.set(unit)
    unit_started.send_robust(sender=Unit, unit=unit)
    return unit, token, activity


def _release_what_came_before(*, only_quiescent: bool = False) -> None:
    """What was leased at import or in ``AppConfig.ready()``, and would never be given back."""
    for wrapper in connections.all(initialized_only=True):
        if (
            isinstance(wrapper, PooledWrapper)
            and wrapper._lease is not None
            and not (only_quiescent and wrapper._holds)
            and not _is_leased_for_a_unit(wrapper._lease)
            and not wrapper.has_transaction()
        ):
            wrapper.release_lease()


def _is_leased_for_a_unit(lease: Lease[Any]) -> bool:
    """Whether it is a surrounding unit's: a request's, or that of whoever started the thread."""
    unit = find_unit()
    while unit is not None and not unit.owns(lease):
        unit = unit.parent
    return unit is not None


def _finish(unit: Unit) -> int:
    """End a unit: this thread's leases first, which may have open cursors, then the others."""
    released = _release_leases_of(unit) if current_owner().held else 0
    released += unit.end()
    unit_finished.send_robust(sender=Unit, unit=unit, released=released)
    return released


def _release_leases_of(unit: Unit) -> int:
    released = 0
    for wrapper in connections.all(initialized_only=True):
        lease = getattr(wrapper, "_lease", None)
        if lease is None or not unit.owns(lease):
            continue
        try:
            released += cast(Any, wrapper).release_lease()
        except Exception:
            logger.exception("Could not release the connection of %r.", wrapper.alias)
    return released


# Requests. Signals, not a middleware, because they are sent for every request, also for one
# that no middleware sees, by WSGI and ASGI handlers alike.


def connect_receivers() -> None:
    """Make every request a unit of work."""
    request_started.connect(on_request_started, dispatch_uid="django_connmgr")
    request_finished.connect(on_request_finished, dispatch_uid="django_connmgr")


def on_request_started(**kwargs: Any) -> None:
    parent = find_unit()
    if parent is not None and parent.is_request and not parent.is_over:
        # The previous request of this thread never finished: its client went away.
        _finish(parent)
        parent = parent.parent
    release_everything()
    unit = Unit(_describe(kwargs), parent, is_request=True)
    current_owner().activity = unit.name
    set_request_unit(unit)
    unit_started.send_robust(sender=Unit, unit=unit)


def on_request_finished(**kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    current_owner().activity = ""
    unit = find_unit()
    if unit is not None and unit.is_request and not unit.is_over:
        current_unit.set(unit.parent)
        _finish(unit)
    release_everything()


def wrap_handlers() -> None:
    """Give back what a request leased before the first chunk of its streamed response.

    Django is wrapped because it says nothing between the two: ``request_finished`` comes
    after the last chunk, which may be hours later, and a middleware would have to be set by
    everybody, and does not see what is outside of it. Every handler of Django's, the test
    clients' too, takes its responses from these two methods. Idempotent.
    """
    # Later, because connections are used where no request is ever served.
    from django.core.handlers.base import BaseHandler

    if hasattr(BaseHandler.get_response, _WRAPPED):
        return
    get_response, get_response_async = BaseHandler.get_response, BaseHandler.get_response_async

    @functools.wraps(get_response)
    def get_response_and_release(handler: BaseHandler, request: HttpRequest) -> HttpResponseBase:
        response = get_response(handler, request)
        unit = _unit_of_stream(response)
        if unit is not None:
            unit.become_eager()
        return response

    @functools.wraps(get_response_async)
    async def get_response_async_and_release(
        handler: BaseHandler, request: HttpRequest
    ) -> HttpResponseBase:
        response = await get_response_async(handler, request)
        unit = _unit_of_stream(response)
        if unit is not None:
            # It may talk to databases, so not on the event loop; and not in the thread that
            # serves the ORM here, which may be busy with something that the view began.
            await sync_to_async(unit.become_eager, thread_sensitive=False)()
        return response

    setattr(get_response_and_release, _WRAPPED, True)
    BaseHandler.get_response = get_response_and_release  # type: ignore[method-assign,assignment]
    BaseHandler.get_response_async = (  # type: ignore[method-assign]
        get_response_async_and_release  # type: ignore[assignment]
    )


#: On what we have wrapped already; ``functools.wraps`` carries it to wrappers around ours.
_WRAPPED = "_connmgr_wrapped"


def _unit_of_stream(response: HttpResponseBase) -> Unit | None:
    """The request's unit, if the response is about to be streamed."""
    unit = find_unit() if response.streaming else None
    return unit if unit is not None and unit.is_request and not unit.is_over else None


def _describe(request: dict[str, Any]) -> str:
    """Method and path of a request, from a WSGI environment or an ASGI scope.

    Never the query string, which may hold secrets.
    """
    environ, scope = request.get("environ"), request.get("scope")
    if environ is not None:
        return f"{environ.get('REQUEST_METHOD', '')} {environ.get('PATH_INFO', '')}"
    if scope is not None:
        return f"{scope.get('method', '')} {scope.get('path', '')}"
    return ""


# Management commands


def wrap_commands() -> None:
    """Make every management command a unit of work, from the command line or ``call_command()``.

    Django is wrapped because it tells nobody that a command begins or ends. All commands go
    through ``execute()``. So do those that end only with their process, like ``runserver``:
    what their own thread leases stays with it for as long, as ever, and can be reclaimed
    while it is quiescent; requests, tasks and blocks inside are units of their own.
    ``check_migrations()`` is one too, because ``runserver`` calls it before it serves, with
    the reloader on another thread, and never queries there again. Idempotent.
    """
    from django.core.management.base import BaseCommand  # Later: a server needs no commands.

    for method in ("execute", "check_migrations"):
        function = getattr(BaseCommand, method)
        if not hasattr(function, _WRAPPED):
            setattr(BaseCommand, method, _as_command(function))


def _as_command(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        owner = current_owner()
        has_worked, owner.has_worked = owner.has_worked, True
        if not has_worked:
            # A script may call a command between two queries of its own: unlike other first
            # units, it takes from its caller only what nobody will miss.
            _release_what_came_before(only_quiescent=True)
        module = type(args[0]).__module__
        try:
            with unit_of_work(f"manage.py {module.rpartition('.')[2]}"):
                return function(*args, **kwargs)
        finally:
            owner.has_worked = has_worked  # What comes now may precede the first real one.

    setattr(run, _WRAPPED, True)
    return run


# Threads


def _in_unit(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` for another thread: in the caller's unit of work, released when it returns."""
    context = copy_context()

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: a context cannot be entered twice at once.
        return context.copy().run(run_and_release, *args, **kwargs)

    def run_and_release(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        finally:
            release_everything()

    return run


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """The standard library's; each call belongs to its submitter's unit and releases at its end."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        return super().submit(_in_unit(fn), *args, **kwargs)


class Thread(_Thread):
    """The standard library's; belongs to its starter's unit and releases when it ends."""

    def start(self) -> None:
        self.run = _in_unit(self.run)  # type: ignore[method-assign]
        super().start()


E_ = TypeVar("E_", bound=futures.Executor)


def wrap_executor(executor: E_) -> E_:
    """Make an executor that somebody else owns release after each call; returns it."""
    submit: Callable[..., futures.Future[Any]] = executor.submit

    @functools.wraps(submit)
    def submit_in_unit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(_in_unit(fn), *args, **kwargs)

    executor.submit = submit_in_unit  # type: ignore[method-assign]
    return executor
