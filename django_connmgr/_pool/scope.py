"""What leases and warm connections belong to: a unit of work, as the pool sees it."""

from __future__ import annotations

import enum
from collections import defaultdict
from typing import Any, ClassVar, Protocol

from .cause import Cause, Deadline
from .errors import Errors


class Home(Protocol):
    """What scopes and leases ask of the pool of a slot."""

    name: str
    errors: Errors

    def end_scope(self, slot: Any, scope: Scope) -> bool: ...

    def release(self, lease: Any, *, is_warm: bool = False) -> bool: ...

    def discard(self, lease: Any) -> None: ...

    def error_of_killed(self, lease: Any) -> Exception | None: ...

    def kill(self, slot: int, since: float, scope: Scope | None, cause: Cause | None) -> bool: ...

    def leases_in(self, scope: Scope) -> list[tuple[int, float]]: ...

    def is_busy(self, slot: int, since: float) -> bool: ...


class ScopeState(enum.IntEnum):
    RUNNING = 0
    #: Keeps nothing warm any more.
    EAGER = 1
    #: As EAGER, and it is not ended again.
    OVER = 2


RUNNING, OVER = ScopeState.RUNNING, ScopeState.OVER


class Scope:
    """Knows what was leased in it, on every thread, and gives it back at its end."""

    __slots__ = ("name", "slots", "state", "takes")

    #: When it has to be done; ``None``: at no time.
    deadline: ClassVar[Deadline | None] = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = RUNNING
        #: What is leased in it or warm for it, each with its pool. Each entry is made and taken
        #: out under the lock of that pool, by single dict operations, which are atomic.
        self.slots: dict[Any, Home] = {}
        #: Checkouts by pool; each is counted under the lock of that pool.
        self.takes: defaultdict[Home, int] = defaultdict(int)

    def end(self) -> int:
        """Give back what is not in use; returns how many went. The rest goes when its use ends.

        A thread that is leasing meanwhile enters its slot into ``slots`` and looks at ``state``
        after that; this sets ``state`` and copies ``slots`` after that. Both the entry and the
        copy take the dict's own lock where there is no GIL, so one of the two sees the other.
        """
        self.state = OVER
        return self._give_back() if self.slots else 0

    def become_eager(self) -> int:
        """As ``end()``, but it is not over: what is leased from here on goes after each use."""
        self.state = max(self.state, ScopeState.EAGER)
        return self._give_back()

    def _give_back(self) -> int:
        return sum(pool.end_scope(slot, self) for slot, pool in self.slots.copy().items())

    def abandon(self) -> None:
        """End it in a finaliser: only append to queues and ring bells."""
        self.state = OVER
        for slot in self.slots.copy():
            slot.lost.report(slot, self)


#: Those with a deadline that are not over. While there are any, a connection that is warm for its
#: thread is leased by way of ``acquire()``: it may be warm for another unit of work than the one
#: that it is used in next, and so would outlive the deadline. Changed by single dict operations.
timed: dict[Any, None] = {}
