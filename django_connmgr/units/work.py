"""``unit_of_work()``: how a unit begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from contextvars import Token
from typing import Any

from asgiref.sync import sync_to_async

from .._pool.cause import Deadline
from .._pool.owner import here
from ..block import Block
from ..signals import unit_finished, unit_started
from .cancelling import cancel_queries
from .current import current_unit, find_unit
from .deadlines import deadlines
from .thread import note_outer, past, release_all, release_what_came_before
from .timed import TimedScope
from .unit import Unit


class unit_of_work(Block):  # noqa: N801 - used like a function
    """Release everything that is leased in the block when it ends, on whichever thread.

    Context manager and decorator, sync and async. A nested unit releases only what was
    leased in it. What a transaction holds stays; what another thread is using goes when it
    stops. ``name`` is for errors and signals: a task's name, a message's topic.

    ``deadline`` is how many seconds it has for its databases, the nested units too: for connections
    that it waits for, for those that are opened, and for queries. When they are over, its leases
    are ended: a query that runs is cancelled, its connection is closed, what was not committed is
    rolled back, and what uses a database in it next raises ``DeadlineExceeded``. On a connection
    that a unit around it leased, as for a transaction, only a query that runs is ended so. Code
    that uses no database is not stopped. Raises ``ValueError`` for what is no number above 0.
    """

    unit_class: type[Unit] = Unit

    def __init__(self, name: str = "", *, deadline: float | None = None) -> None:
        if deadline is not None and not _is_duration(deadline):
            raise ValueError(
                f"unit_of_work(deadline={deadline!r}): give a number of seconds above 0, or None "
                "for no deadline."
            )
        self.name = name
        self.deadline = deadline
        self._units: list[tuple[Unit, Token[Unit | None]]] = []

    def __enter__(self) -> Unit:
        if not past.has_worked:
            past.has_worked = True
            release_what_came_before()
        unit = self.unit_class(self.name, find_unit())
        deadline = self._find_deadline(unit)
        if deadline is not None:
            scope = unit.scope = TimedScope(self.name, deadline)
            note_outer(scope)
            deadlines.watch(scope)
        self._units.append((unit, current_unit.set(unit)))
        unit_started.send_robust(sender=Unit, unit=unit)
        return unit

    def _find_deadline(self, unit: Unit) -> Deadline | None:
        """The earlier of its own and the one of the unit around it."""
        deadline = None if unit.parent is None else unit.parent.scope.deadline
        if self.deadline is None or (deadline and deadline.time_left() <= self.deadline):
            return deadline
        return Deadline.of(self.name, self.deadline)

    def __exit__(self, *exc_info: object) -> None:
        finish(self._leave())

    def _leave(self) -> Unit:
        unit, token = self._units.pop()
        # In another context than it was entered in, nothing is to be restored.
        with contextlib.suppress(ValueError):
            current_unit.reset(token)
        return unit

    async def __aenter__(self) -> Unit:
        unit = self.__enter__()
        if isinstance(unit.scope, TimedScope):
            try:
                await sync_to_async(note_outer)(unit.scope)  # Where the ORM of this task leases.
            except BaseException:
                self._leave().end()
                raise
        return unit

    async def __aexit__(self, *exc_info: object) -> None:
        unit = self._leave()
        if self.deadline is not None and isinstance(exc_info[1], asyncio.CancelledError):
            cancel_queries(unit)  # Of the threads that it waited for, and that go on.
        if not (unit.scope.takes or unit_finished.receivers):
            unit.end()  # It has leased nothing.
            return
        # The end of a unit talks to databases, so not on the event loop, but in the thread where
        # the ORM of this task leases. A second cancellation does not keep the unit from ending.
        await asyncio.shield(sync_to_async(finish)(unit))

    def _around(self, function: Callable[..., Any]) -> Callable[[], unit_of_work]:
        # A block for each call: this one remembers its units.
        name = self.name or getattr(function, "__qualname__", "")
        return functools.partial(unit_of_work, name, deadline=self.deadline)


def _is_duration(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value < float("inf")  # type: ignore[operator]


def finish(unit: Unit) -> int:
    """End a unit: this thread's leases first, which may have open cursors, then the others."""
    released = release_all(unit) if here.owner.held else 0
    released += unit.end()
    if unit_finished.receivers:
        unit_finished.send_robust(sender=Unit, unit=unit, released=released)
    return released


async def become_eager(unit: Unit) -> None:
    """Give back what a unit has leased so far, and from here on after each use: it may be long."""
    if not unit.scope.slots:
        unit.scope.become_eager()
        return
    # It may talk to databases, so not on the event loop; and not in the thread that serves the ORM
    # here, which may be busy with something that the unit began.
    await sync_to_async(unit.scope.become_eager, thread_sensitive=False)()
