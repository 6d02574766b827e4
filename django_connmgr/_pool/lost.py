"""Leases that ended without a release: all that a finaliser may touch."""

from collections import deque
from collections.abc import Callable
from typing import Any


class Lost:
    """A queue that is written without a lock, and read under the pool's.

    An entry names a slot and a witness: the lease that was collected, the owner that died, or
    the unit of work that was abandoned. It counts only if the slot still belongs to the witness
    when the pool takes the entry in, so one that comes late, or twice, does no harm.

    No waiter sleeps through a report. ``report()`` appends, and then looks whose bell to ring;
    a waiter that enters the queue sets ``first`` and then takes in what is lost. So one of the
    two sees the other.
    """

    __slots__ = ("_upkeep", "first", "queue")

    def __init__(self, upkeep: Callable[[], None]) -> None:
        #: (slot, witness, was forgotten); ``deque.append`` is atomic, also without the GIL.
        self.queue: deque[tuple[Any, object, bool]] = deque()
        #: The bell of the first waiter, if there is one. Written under the pool's lock.
        self.first: Any = None
        self._upkeep = upkeep

    def report(self, slot: Any, witness: object, *, was_forgotten: bool = True) -> None:
        """Note it, and have it seen to. Takes no lock and does no I/O: safe in finalisers."""
        self.queue.append((slot, witness, was_forgotten))
        bell = self.first
        if bell is not None:
            bell.ring()
        else:
            self._upkeep()
