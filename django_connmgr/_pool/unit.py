"""A unit of work: a request, a task, a message. Leases belong to the unit that took them."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .slot import Claim, Lease


_next_number = itertools.count(1).__next__


class Unit:
    """What leases are released with. One mutable object, shared by all who work on the unit.

    The current unit is a context variable, so threads and tasks that are started with a
    copy of the context (``sync_to_async``, ``asyncio.to_thread``, child tasks, our
    executors) lease for the same unit.
    """

    __slots__ = (
        "__weakref__",
        "_leases",
        "is_eager",
        "is_over",
        "is_request",
        "name",
        "number",
        "parent",
        "takes",
    )

    def __init__(self, name: str, parent: Unit | None = None, *, is_request: bool = False) -> None:
        # Only single dict operations touch it, each atomic: threads of a unit share it. A copy
        # is one; a list of its items is not, because it allocates them one by one, where
        # Python 3.11 may collect garbage, and so run finalisers and other threads.
        # By their claims: a lease may be taken again and be the same, or be another's by then.
        self._leases: dict[Claim, weakref.ref[Lease[Any]]] = {}
        self.name = name
        #: Above 0, and never used twice.
        self.number = _next_number()
        self.is_request = is_request
        self.parent = parent
        self.is_over = False
        #: Give back after each query or transaction what is leased from here on.
        self.is_eager = False
        #: Checkouts by pool name and thread, so that each has one writer and needs no lock.
        self.takes: dict[tuple[str, int], int] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Checkouts by pool name."""
        counts: Counter[str] = Counter()
        for (name, _thread), number in self.takes.copy().items():
            counts[name] += number
        return dict(counts)

    def add(self, lease: Lease[Any]) -> tuple[str, int]:
        """A lease was taken in this unit, by this thread; returns its key in ``takes``.

        See ``end()`` for when that comes too late.
        """
        key = (lease.pool.name, get_ident())
        self.takes[key] = self.takes.get(key, 0) + 1
        lease.is_known = True
        self._leases[lease.claim] = weakref.ref(lease)
        if len(self._leases) > 64:  # A long unit must not collect what was long released.
            self._forget_ended()
        return key

    def owns(self, lease: Lease[Any]) -> bool:
        return lease.claim in self._leases

    def end(self) -> int:
        """Give back every lease of this unit that is not in use; returns how many went.

        One in use, on another thread, goes when its hold ends: see ``Lease.take_back``.
        Leases of this thread that are kept open by a transaction stay with it.
        """
        self.is_over = True
        return self._take_back() if self._leases else 0

    def become_eager(self) -> int:
        """Give back what is not in use, and the rest after its query or transaction.

        So does whatever is leased from here on. The unit goes on: it has done its part, and
        what is left of it may last, as long as a client reads for example.
        """
        self.is_eager = True
        return self._take_back()

    def _take_back(self) -> int:
        leases = self._find_leases()
        for _lease, claim in leases:  # All of them first: taking one back may be interrupted.
            claim.is_due = True
        released = 0
        for lease, claim in leases:
            if lease.is_held():
                released += lease.take_back(claim)
        return released

    def __del__(self) -> None:
        """Nobody ended it and nobody works on it any more, as when a server cancels a request.

        A finaliser: it only appends to queues and rings bells.
        """
        if not getattr(self, "is_over", True):
            self.is_over = True
            for lease, claim in self._find_leases():
                lease.abandon(claim)

    def _find_leases(self) -> list[tuple[Lease[Any], Claim]]:
        """Its leases, each with the claim that it had here: one that was renewed has another."""
        return [
            (lease, claim)
            for claim, reference in self._leases.copy().items()
            if (lease := reference()) is not None
        ]

    def _forget_ended(self) -> None:
        for claim, reference in self._leases.copy().items():
            lease = reference()
            if lease is None or lease.claim is not claim:
                self._leases.pop(claim, None)

    def __repr__(self) -> str:
        state = "over" if self.is_over else "running"
        return f"<Unit {self.name!r}, {state}>"


current_unit: ContextVar[Unit | None] = ContextVar("django_connmgr_unit", default=None)
