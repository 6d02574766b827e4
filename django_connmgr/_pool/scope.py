"""What leases and warm connections belong to: a unit of work, as the pool sees it."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from .owner import Reported


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

    __slots__ = ("__weakref__", "is_eager", "is_over", "name", "ref", "slots", "takes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_over = False
        #: Keep nothing warm of what is leased from here on.
        self.is_eager = False
        #: What is leased in it or warm for it, each with its pool. Each entry is made and taken
        #: out under the lock of that pool, by single dict operations, which are atomic.
        self.slots: dict[Reported, Home] = {}
        #: Checkouts by pool; each is counted under the lock of that pool.
        self.takes: dict[Home, int] = {}
        self.ref: weakref.ref[Scope] = weakref.ref(self)

    def end(self) -> int:
        """Give back what is not in use; returns how many went. The rest goes when its use ends.

        A thread that is leasing meanwhile enters its slot into ``slots`` and looks at ``is_over``
        after that; this sets ``is_over`` and copies ``slots`` after that. Both the entry and the
        copy take the dict's own lock where there is no GIL, so one of the two sees the other.
        """
        self.is_over = True
        return self._give_back()

    def become_eager(self) -> int:
        """As ``end()``, and whatever is leased from here on goes after each use; it is not over."""
        self.is_eager = True
        return self._give_back()

    def _give_back(self) -> int:
        went = 0
        for slot, pool in self.slots.copy().items():
            went += pool.end_scope(slot, self)
        return went

    def abandon(self) -> None:
        """For its finaliser: only append to queues and ring bells."""
        self.is_over = True
        for slot in self.slots.copy():
            slot.lost.report(slot, self.ref)
