"""What leases and warm connections belong to: a unit of work, as the pool sees it."""

from __future__ import annotations

import enum
import weakref
from collections import defaultdict
from typing import Any, Protocol, Self

from .owner import Reported


class ScopeState(enum.IntEnum):
    RUNNING = 0
    #: Keeps nothing warm of what is leased from here on.
    EAGER = 1
    #: As EAGER, and nobody will end it again.
    OVER = 2


OVER = ScopeState.OVER


class Home(Protocol):
    """What a scope asks of the pool of a slot."""

    name: str

    def end_scope(self, slot: Any, scope: Scope) -> bool:
        """Give a slot of ``scope`` back, now or when its use ends; true if it went now."""


class Scope:
    """Knows what was leased in it, on every thread, and gives it back at its end.

    Slots refer to it weakly (``ref``): a scope that nobody ends, as of a request that a server
    cancels, is collected, and reports its slots then.
    """

    __slots__ = (
        "__weakref__",
        "is_request",
        "name",
        "parent",
        "ref",
        "slots",
        "state",
        "takes",
    )

    def __init__(self, name: str, parent: Self | None = None, *, is_request: bool = False) -> None:
        self.state = ScopeState.RUNNING  # First, for finalisers of what is interrupted at birth.
        self.name = name
        #: The one around it.
        self.parent = parent
        self.is_request = is_request
        #: What is leased in it or warm for it, each with its pool. Each entry is made and taken
        #: out under the lock of that pool, by single dict operations, which are atomic.
        self.slots: dict[Reported, Home] = {}
        #: Checkouts by pool; each is counted under the lock of that pool.
        self.takes: defaultdict[Home, int] = defaultdict(int)
        self.ref: weakref.ref[Scope] = weakref.ref(self)

    @property
    def is_over(self) -> bool:
        return self.state is OVER

    def end(self) -> int:
        """Give back what is not in use; returns how many went. The rest goes when its use ends.

        A thread that is leasing meanwhile enters its slot into ``slots`` and looks at ``state``
        after that; this sets ``state`` and copies ``slots`` after that. Both the entry and the
        copy take the dict's own lock where there is no GIL, so one of the two sees the other.
        """
        self.state = OVER
        slots = self.slots.copy()
        return self._give_back(slots) if slots else 0

    def become_eager(self) -> int:
        """As ``end()``, but it is not over: what is leased from here on goes after each use."""
        self.state = max(self.state, ScopeState.EAGER)
        return self._give_back(self.slots.copy())

    def _give_back(self, slots: dict[Reported, Home]) -> int:
        return sum(pool.end_scope(slot, self) for slot, pool in slots.items())

    def abandon(self) -> None:
        """For its finaliser: only append to queues and ring bells."""
        self.state = OVER
        for slot in self.slots.copy():
            slot.lost.report(slot, self.ref)
