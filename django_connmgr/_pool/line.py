"""The line in front of a pool: who waits, for how long, and whether the pool may grow instead."""

from __future__ import annotations

from collections import deque
from typing import Generic

from .driver import C
from .limits import Limits
from .owner import BRISK_AFTER, Owner
from .pace import Pace
from .slot import Slot, SlotState
from .stats import Counters
from .waiters import Waiter

#: For how long a pool does not grow after the server refused it one more connection.
#: Long enough not to pester a full server, short against any sensible ``timeout``.
REFUSAL_PAUSE = 0.2

#: Who has not this many times the patience of the pool left connects where it may.
LEISURE = 10

#: A waiter looks for itself this often, in seconds. Nothing relies on it except that a
#: thread interrupted between serving a waiter and ringing its bell delays that waiter
#: by no more than this.
LOOK_AGAIN = 1.0


class Line(Generic[C]):
    """The part of a ledger that knows the queue. Guarded by the pool's lock, where a method
    does not say otherwise.
    """

    def __init__(self, limits: Limits) -> None:
        self.set_limits(limits)
        #: Every slot that is not closed, oldest first.
        self.slots: dict[Slot[C], None] = {}
        self.waiters: deque[Waiter] = deque()
        #: Slots whose leases ended without a release. Finalisers append to it at any
        #: time, on any thread, without the lock; ``deque.append`` is atomic.
        self.orphans: deque[tuple[Slot[C], int]] = deque()
        self.counters = Counters()
        self.pace = Pace()
        self._no_growth_until = float("-inf")
        #: Whether somebody left a connection lying although somebody waits, since the last time
        #: that all that lies around was handed out; see ``may_keep()``.
        self.has_left_some = False

    def set_limits(self, limits: Limits) -> None:
        self.limits = limits
        #: As in ``limits``, but infinity where there is no limit.
        self.max_size = float("inf") if limits.max_size is None else limits.max_size

    # Growing

    def _may_grow(self, now: float) -> bool:
        if self._is_exhausted(now):
            return False
        return self.count(SlotState.CONNECTING) < self.limits.max_connecting

    def _should_wait(self, waiter: Waiter, now: float) -> bool:
        pace = self.pace
        if not pace.connect_time or waiter.is_hurried:
            return False
        if waiter.deadline - now <= LEISURE * pace.patience:
            return False
        if not self.waiters:
            pace.begin(now)
        return pace.is_worth_waiting(now, len(self.waiters)) and any(
            slot.state is SlotState.LEASED for slot in self.slots
        )

    def _is_exhausted(self, now: float) -> bool:
        """Whether there can be no further connection, by our limit or by the server's."""
        return len(self.slots) >= self.max_size or (
            now < self._no_growth_until and bool(self.slots)
        )

    def pause_growth(self, now: float) -> bool:
        """After the server's refusal: true if there are other connections to wait for."""
        self._no_growth_until = now + REFUSAL_PAUSE
        return any(
            slot.state is not SlotState.CONNECTING and slot.connection is not None
            for slot in self.slots
        )

    def growth_pause(self, now: float) -> float:
        """Seconds for which nobody connects who could; 0 if somebody may. Needs no lock."""
        return max(self._no_growth_until - now, self.pace.stall(now))

    def count(self, state: SlotState) -> int:
        return sum(slot.state is state for slot in self.slots)

    # Waiting

    def nudge(self) -> bool:
        """Ring for the first in line; false if there is none. Takes no lock."""
        try:
            self.waiters[0].bell.ring()
        except IndexError:
            return False
        return True

    def withdraw(self, waiter: Waiter) -> None:
        """Take a waiter that gave up out of the queue, if it is still there."""
        try:
            self.waiters.remove(waiter)
        except ValueError:
            pass

    def is_young(self, now: float) -> bool:
        """Whether nobody has waited for ``fair_after`` seconds. Takes no lock.

        So long, a thread that comes back again and again at once may leave the connection
        where it finds it again, which is a hundred times faster than to wake another thread
        each time. Everybody else hands it over to the longest waiter, first come first
        served, and so does that thread from then on.
        """
        waiters = self.waiters
        try:
            return not waiters or now - waiters[0].since < self.limits.fair_after
        except IndexError:  # Served by another thread meanwhile.
            return True

    def may_keep(self, owner: Owner, now: float) -> bool:
        """Whether ``owner`` may leave a connection where it finds it again, although somebody
        waits. Takes no lock.

        If it does not come for it after all, the first in line finds it when ``fair_after``
        seconds are over, for which that must have set its alarm. The owner asks once more
        after it left the connection, so ``serve()`` cannot miss both that and the note here.
        """
        if owner.returns < BRISK_AFTER or not self.is_young(now):
            return False
        self.has_left_some = True
        try:
            waiter = self.waiters[0]
        except IndexError:
            return True
        if not waiter.is_alert:
            waiter.bell.ring()
        return True

    def is_short(self, owner: Owner, now: float) -> bool:
        """Whether whoever waits should have what ``owner`` does not use from now on, at once.

        Called without the lock, which is as good: if it becomes true a moment later, what
        made it true serves the waiters itself.
        """
        owner.left_at = now
        return (
            bool(self.waiters)
            and self.limits.reclaim
            and self._is_exhausted(now)
            and not self.may_keep(owner, now)
        )

    def should_look(self, waiter: Waiter) -> bool:
        """Whether a waiter that woke up should look for something.

        Only the first in line: behind an old one nothing is left lying, because whoever
        stops using a connection hands it over, and whoever is behind a young one is young
        itself, and will be the first when it wakes up the next time. Takes no lock.
        """
        return not waiter.is_out and (self._is_first(waiter) or bool(self.orphans))

    def next_look(self, waiter: Waiter, now: float) -> float:
        """Seconds after which a waiter looks for itself, although nobody rang.

        Where nobody leaves anything lying, only the first in line also wakes at the moment
        when it becomes old: if all did, nobody would sleep through a long line.
        """
        pause = LOOK_AGAIN
        if len(self.slots) < self.max_size:
            pause = self.growth_pause(now) or LOOK_AGAIN
        waiter.is_alert = False
        if self.has_left_some or self._is_first(waiter):
            until_old = waiter.since + self.limits.fair_after - now
            waiter.is_alert = until_old > 0
            if waiter.is_alert and until_old < pause:
                pause = until_old
        return pause

    def _is_first(self, waiter: Waiter) -> bool:
        try:
            return self.waiters[0] is waiter
        except IndexError:
            return True
