"""Functions of other packages, such as task runners, whose calls are units of work."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction

from .._pool.owner import here
from .current import find_unit
from .thread import release_all
from .work import unit_of_work

#: On what we have wrapped already; ``functools.wraps`` carries it to wrappers around ours.
WRAPPED = "_connmgr_wrapped"


def task_unit(name: str) -> unit_of_work:
    """The unit of a task that a runner is about to run on this thread.

    What the runner itself has leased there, to look for tasks, goes back first: so the end of the
    task leaves nothing. A worker that is run within a unit of its caller's takes nothing from that.
    """
    if here.owner.held and ((unit := find_unit()) is None or unit.is_command):
        release_all()
    return unit_of_work(name)


def hook(owner: Any, function_name: str, name_of: Callable[..., str | None]) -> None:
    """Have every call of a function of ``owner``, sync or async, be a unit of work. Idempotent.

    ``name_of`` gets the arguments of a call, and tells the unit's name; or ``None``, and then the
    call is a part of its caller's unit.
    """
    # As it is defined: it may be an object that becomes a method in another way than functions do.
    function = inspect.getattr_static(owner, function_name)
    if not hasattr(function, WRAPPED):
        run = (_async_unit if iscoroutinefunction(function) else _unit)(function, name_of)
        setattr(run, WRAPPED, True)
        setattr(owner, function_name, run)


def _unit(function: Callable[..., Any], name_of: Callable[..., str | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args, **kwargs)
        if name is None:
            return function(*args, **kwargs)
        with task_unit(name):
            return function(*args, **kwargs)

    return run


def _async_unit(
    function: Callable[..., Any], name_of: Callable[..., str | None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args, **kwargs)
        if name is None:
            return await function(*args, **kwargs)
        async with unit_of_work(name):
            return await function(*args, **kwargs)

    return run
