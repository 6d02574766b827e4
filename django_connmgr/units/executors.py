"""Threads and executors that belong to the unit of work of their callers."""

import functools
from collections.abc import Callable
from concurrent import futures
from contextvars import copy_context
from threading import Thread as _Thread
from typing import Any, ParamSpec, TypeVar

from .._pool.owner import here
from .thread import release_all

P = ParamSpec("P")
R = TypeVar("R")


def _in_unit(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` for another thread: in the caller's unit of work, released when it returns."""
    context = copy_context()

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            # A copy for each call: a context cannot be entered twice at once.
            return context.copy().run(function, *args, **kwargs)
        finally:
            if here.owner.held:
                release_all()

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


E = TypeVar("E", bound=futures.Executor)


def wrap_executor(executor: E) -> E:
    """Make an executor that other code owns release after each call; returns it."""
    submit: Callable[..., futures.Future[Any]] = executor.submit

    @functools.wraps(submit)
    def submit_in_unit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(_in_unit(fn), *args, **kwargs)

    executor.submit = submit_in_unit  # type: ignore[method-assign]
    return executor
