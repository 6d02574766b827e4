"""A unit of work: a request, a task, a message. Leases belong to the unit that took them."""

from __future__ import annotations

from collections import Counter

from .._pool.scope import OVER, Scope


class Unit(Scope):
    """What leases are released with. One mutable object, shared by all who work on the unit.

    The current unit is a context variable, so threads and tasks that are started with a
    copy of the context (``sync_to_async``, ``asyncio.to_thread``, child tasks, our
    executors) lease for the same unit.
    """

    __slots__ = ()

    @property
    def counts(self) -> dict[str, int]:
        """Checkouts by alias."""
        counts: Counter[str] = Counter()
        for pool, number in self.takes.copy().items():
            counts[pool.name] += number
        return dict(counts)

    def __del__(self) -> None:
        """Nobody ended it and nobody works on it any more, as when a server cancels a request."""
        try:
            if self.state is not OVER:
                self.abandon()
        except AttributeError:
            pass  # It was interrupted at its birth.

    def __repr__(self) -> str:
        state = "over" if self.is_over else "running"
        return f"<Unit {self.name!r}, {state}>"
