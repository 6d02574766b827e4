"""``unit_of_work()``: how a unit begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from contextvars import Token
from typing import Any

from asgiref.sync import sync_to_async

from .._pool.owner import here
from ..block import Block
from ..signals import unit_finished, unit_started
from .current import current_unit, find_unit
from .thread import past, release_all, release_what_came_before
from .unit import Unit


class unit_of_work(Block):  # noqa: N801 - used like a function
    """Release everything that is leased in the block when it ends, on whichever thread.

    Context manager and decorator, sync and async. A nested unit releases only what was
    leased in it. What a transaction holds stays; what another thread is using goes when it
    stops. ``name`` is for errors and signals: a task's name, a message's topic.
    """

    unit_class: type[Unit] = Unit

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._units: list[tuple[Unit, Token[Unit | None]]] = []

    def __enter__(self) -> Unit:
        if not past.has_worked:
            past.has_worked = True
            release_what_came_before()
        unit = self.unit_class(self.name, find_unit())
        self._units.append((unit, current_unit.set(unit)))
        unit_started.send_robust(sender=Unit, unit=unit)
        return unit

    def __exit__(self, *exc_info: object) -> None:
        finish(self._leave())

    def _leave(self) -> Unit:
        unit, token = self._units.pop()
        # In another context than it was entered in, nothing is to be restored.
        with contextlib.suppress(ValueError):
            current_unit.reset(token)
        return unit

    async def __aenter__(self) -> Unit:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        unit = self._leave()
        # The end of a unit talks to databases, so not on the event loop, but in the thread where
        # the ORM of this task leases. A second cancellation does not keep the unit from ending.
        await asyncio.shield(sync_to_async(finish)(unit))

    def _around(self, function: Callable[..., Any]) -> Callable[[], unit_of_work]:
        # A block for each call: this one remembers its units.
        return functools.partial(unit_of_work, self.name or getattr(function, "__qualname__", ""))


def finish(unit: Unit) -> int:
    """End a unit: this thread's leases first, which may have open cursors, then the others."""
    released = release_all(unit) if here.owner.held else 0
    released += unit.end()
    if unit_finished.receivers:
        unit_finished.send_robust(sender=Unit, unit=unit, released=released)
    return released
