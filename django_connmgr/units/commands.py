"""Management commands are units of work, from the command line or by ``call_command()``."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .hooks import WRAPPED
from .thread import past, release_what_came_before
from .unit import CommandUnit
from .work import unit_of_work

P = ParamSpec("P")
R = TypeVar("R")


def wrap_commands() -> None:
    """Make every management command a unit of work.

    Django is wrapped because it says nowhere that a command begins or ends. All commands go through
    ``execute()``; what the own thread of one like ``runserver`` leases stays with it for as long,
    but requests, tasks and blocks inside are units of their own. ``check_migrations()`` is one too:
    ``runserver`` calls it before it serves, and never queries on that thread again. Idempotent.
    """
    from django.core.management.base import BaseCommand  # Later: a server needs no commands.

    for method in ("execute", "check_migrations"):
        function = getattr(BaseCommand, method)
        if not hasattr(function, WRAPPED):
            setattr(BaseCommand, method, _as_command(function))


def _as_command(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        has_worked, past.has_worked = past.has_worked, True
        if not has_worked:
            # A script may call a command between two queries of its own: unlike other first
            # units, it takes from its caller only what its caller will not miss.
            release_what_came_before(only_quiescent=True)
        module = type(args[0]).__module__
        command = unit_of_work(f"manage.py {module.rpartition('.')[2]}")
        command.unit_class = CommandUnit
        try:
            with command:
                return function(*args, **kwargs)
        finally:
            past.has_worked = has_worked  # What comes now may precede the first real one.

    setattr(run, WRAPPED, True)
    return run
