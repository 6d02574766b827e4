"""Who has which slot and who is next: every decision of the pool, and none of its deeds."""

from __future__ import annotations

import dataclasses
import enum
import operator
import weakref
from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..exceptions import PoolClosed, TooManyRequests
from .clock import Bell
from .driver import C
from .limits import Limits
from .owner import Owner, current_owner
from .shelf import Shelf
from .slot import FREE, CloseReason, Lease, Slot, SlotState
from .stats import PoolStats
from .waiters import Waiter

if TYPE_CHECKING:
    from .pool import ConnectionPool

#: Seconds for which nothing is expected to happen to a connection after it was used.
WARM = 0.005

_used_at = operator.attrgetter("used_at")


class PoolStatus(enum.Enum):
    OPEN = "open"
    #: Hands nothing out until it is resumed; what is out may come back.
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Ledger(Shelf[C]):
    """The state of one pool. The caller holds the pool's lock, where a method does
    not say otherwise.
    """

    def __init__(self, pool: ConnectionPool[C], limits: Limits) -> None:
        super().__init__(limits)
        self._pool = pool
        self.status = PoolStatus.OPEN
        self.generation = 1

    # Handing out

    def promise(self, waiter: Waiter, now: float, *, may_grow: bool = True) -> bool:
        """Give it an idle slot, a new one to connect, or one that its owner does not use."""
        if self.status is not PoolStatus.OPEN:
            return False
        idle = self._idle
        while idle or (self.parked and self.gather_one()):
            slot = idle[-1]
            if slot.state is SlotState.IDLE:
                self._assign(slot, waiter.lease, waiter.owner, SlotState.LEASED, now)
                idle.pop()
                self.counters.checkouts += 1
                return True
            idle.pop()
        if self._is_exhausted(now):
            return self.limits.reclaim and self._reclaim(waiter.lease, waiter.owner, now)
        return (
            may_grow
            and not self._should_wait(waiter, now)
            and self.reserve(waiter.lease, waiter.owner, now)
        )

    def reserve(self, lease: Lease[C], owner: Owner, now: float) -> bool:
        """Give ``lease`` a place for a connection that its holder opens; false if full."""
        if not self._may_grow(now):
            return False
        slot = Slot(self._pool, self.generation)
        self._assign(slot, lease, owner, SlotState.CONNECTING, now)
        self.slots[slot] = None
        return True

    def _reclaim(self, lease: Lease[C], owner: Owner, now: float) -> bool:
        """Take a quiescent lease away from a live owner, the one that was not used for longest.

        If this is interrupted right after it took the token, the previous owner loses the
        lease at its next query, and the slot comes back when that lease is collected.
        """
        free = [slot for slot in self.slots if FREE in slot.claim.token]
        for slot in sorted(free, key=_used_at):
            if slot.state is SlotState.LEASED and slot.claim.reclaim():
                self.counters.reclaimed += 1
                self.counters.hold_seconds += now - slot.leased_at
                slot.is_dirty = True
                self._assign(slot, lease, owner, SlotState.LEASED, now)
                self.counters.checkouts += 1
                return True
        return False

    def take_over(self, lease: Lease[C]) -> Lease[C] | None:
        """Another lease, of the calling thread's, in the place of one whose token it has."""
        slot = lease._slot
        if slot is None or slot.lease_id != lease.id:
            return None
        successor: Lease[C] = Lease(self._pool)
        self._assign(slot, successor, current_owner(), slot.state, slot.leased_at)
        successor.epoch = lease.epoch  # It has not heard of what was decided since.
        return successor

    def claim(self, slot: Slot[C], now: float) -> Lease[C]:
        """Take an idle slot for the pool's own work."""
        lease: Lease[C] = Lease(self._pool)
        self._assign(slot, lease, current_owner(), SlotState.MAINTENANCE, now)
        return lease

    def _assign(
        self, slot: Slot[C], lease: Lease[C], owner: Owner, state: SlotState, now: float
    ) -> None:
        if slot.owner is not None:
            slot.owner.held.pop(slot, None)
        lease._slot = slot
        lease.epoch = self.epoch
        slot.claim = lease.claim
        slot.stack = None
        slot.owner = owner
        slot.lease_ref = weakref.ref(lease)
        slot.lease_id = lease.id
        slot.leased_at = slot.used_at = now
        slot.state = state
        owner.held[slot] = lease.id

    # Taking back

    def hand_over(self, slot: Slot[C], now: float) -> list[Waiter]:
        """Give a clean slot that came back to whoever waits for it; returns as ``serve()``."""
        waiters = self.waiters
        if (
            not waiters
            or self._idle
            or self.orphans
            or self.status is not PoolStatus.OPEN
            or waiters[0].lease._slot is not None
        ):
            self.put_back(slot, now)
            return self.serve(now) if waiters or self.orphans else []
        waiter = waiters[0]
        # As to make it idle and serve the line, with nobody else to look at on the way.
        if len(self.slots) < self.max_size:
            self.pace.note_return(now)
        if slot.retaken:
            self._close_account(slot)
        is_warm = now - slot.used_at < WARM
        self._assign(slot, waiter.lease, waiter.owner, SlotState.LEASED, now)
        waiter.is_warm = is_warm  # Not before it has it: this may be interrupted.
        self.counters.checkouts += 1
        self._dismiss(now)
        # Last, as in ``serve()``: whoever reported one meanwhile rang for this waiter.
        return [waiter, *self.serve(now)] if self.orphans else [waiter]

    def begin_epoch(self) -> None:
        """Something is about to be decided: released leases come by the lock, to hear of it.

        Before it is decided, because whoever decides may be interrupted.
        """
        self.epoch += 1
        self.gather()

    def reason_to_retire(self, slot: Slot[C], now: float, *, since: int = 0) -> CloseReason | None:
        """Why a connection that comes back, or lies idle, should not be used again.

        ``since`` is the epoch in which it was fine.
        """
        if since == self.epoch and now < slot.expires_at:
            return None
        if self.status is PoolStatus.CLOSED:
            return CloseReason.POOL_CLOSED
        if slot.generation != self.generation:
            return CloseReason.RECYCLED
        if now >= slot.expires_at:
            return CloseReason.LIFETIME
        if len(self.slots) > self.max_size:
            return CloseReason.SHRUNK
        return None

    # The queue

    def admit(self, waiter: Waiter, now: float, *, is_first: bool) -> list[Waiter]:
        """Serve somebody who comes, or refuse, or put it into the queue; returns as ``serve()``.

        Who ``is_first`` had its turn already, and what it got was no good.
        """
        if (
            self.waiters
            and len(self.slots) >= self.max_size
            and not (is_first or self.parked or self._idle or self.orphans)
            and not self.limits.max_waiting
        ):
            # There is nothing but what those who came before wait for.
            return self._enqueue(waiter, now)
        if (
            not self.orphans
            # Where somebody waits, all that is left lying is what was parked; and whoever has
            # waited for long goes first.
            and (is_first or not self.waiters or (self.parked and self.is_young(now)))
            and self.promise(waiter, now, may_grow=is_first or not self.waiters)
        ):
            waiter.is_out = True
            return []
        return self._line_up(waiter, now, is_first=is_first)

    def _line_up(self, waiter: Waiter, now: float, *, is_first: bool) -> list[Waiter]:
        waiters = self.waiters
        served: list[Waiter] = []
        if self.status is PoolStatus.CLOSED:
            waiter.refuse(
                PoolClosed(
                    f"Pool {self._pool.name!r} is closed; the next query on connections"
                    f"[{self._pool.name!r}] makes a new one, so do not keep pools."
                )
            )
            return served
        if self.find_orphans(now) or self._idle:
            served += self.serve(now)
            if not waiters and self.promise(waiter, now):
                waiter.is_out = True
                return served
        # Whoever was served a dead connection has stood in this line already.
        limit = 0 if is_first else self.limits.max_waiting
        if 0 < limit <= len(waiters):
            # Before anybody is refused, nobody waits who might connect.
            for other in waiters:
                other.is_hurried = True
            served += self.serve(now)
        if 0 < limit <= len(waiters):
            self.counters.rejected += 1
            waiter.refuse(
                TooManyRequests(
                    f"Pool {self._pool.name!r} has {len(waiters)} callers waiting already, which "
                    f"is max_waiting; try again later, or raise max_size or max_waiting."
                )
            )
            return served
        return served + self._enqueue(waiter, now, is_first=is_first)

    def _enqueue(self, waiter: Waiter, now: float, *, is_first: bool = False) -> list[Waiter]:
        """Into the queue first, then one more look; returns as ``serve()``.

        Whoever puts a token down or reports an orphan looks at the queue after that: see
        ``Claim`` and ``Shelf.report``.
        """
        waiters = self.waiters
        self.counters.waits += 1
        waiter.bell = Bell()
        if is_first:
            waiters.appendleft(waiter)
        else:
            waiters.append(waiter)
        return self.serve(now) if self.orphans or waiters[0] is waiter else []

    def _dismiss(self, now: float) -> None:
        """The first in line has what it came for.

        Whoever is the first now slept without an alarm. ``may_keep()`` leaves something lying
        *before* it looks who is the first, and this looks for that *after* the first is gone,
        so one of both rings.
        """
        waiters = self.waiters
        waiter = waiters[0]
        # Before it is taken out: interrupted in between, it is dismissed once more.
        waiter.is_out = True
        waiters.popleft()
        if (
            waiters
            and (self.has_left_some or len(self.slots) < self.max_size)
            and not waiters[0].is_alert
        ):
            waiters[0].bell.ring()
        self.counters.wait_seconds += now - waiter.lined_up_at

    def serve(self, now: float) -> list[Waiter]:
        """Give the longest waiters what there is; returns those whom the caller must ring.

        Called after anything that may have freed capacity or let the pool grow.
        """
        served: list[Waiter] = []
        waiters = self.waiters
        self.has_left_some = False  # Before it looks what there is: see ``may_keep()``.
        while True:
            self.settle(now)
            while waiters:
                waiter = waiters[0]
                if self.status is PoolStatus.CLOSED:
                    waiter.error = PoolClosed(f"Pool {self._pool.name!r} was closed.")
                elif not waiter.lease.is_held() and not self.promise(waiter, now):
                    break
                served.append(waiter)
                self._dismiss(now)
            if not self.orphans:
                return served

    def take_stock(self, now: float) -> list[Waiter]:
        """Find whatever is idle, wherever it lies; returns waiters as ``serve()`` does."""
        self.sweep(now)
        self.gather()
        return self.serve(now)

    # Retiring

    def condemn(self, now: float) -> list[Lease[C]]:
        """Begin a new generation; returns leases on the idle slots of older ones, to be closed."""
        self.begin_epoch()
        self.generation += 1
        return self.claim_idle(now)

    def claim_idle(self, now: float, *, most: int | None = None) -> list[Lease[C]]:
        """Take idle slots, longest idle first, for the pool's own work."""
        return [self.claim(slot, now) for slot in self.idle_slots()[:most]]

    def surplus(self) -> int:
        """How many slots there are above ``max_size``, after it was lowered."""
        return int(max(0, len(self.slots) - self.max_size))

    # Looking

    def holders(self) -> Iterator[Slot[C]]:
        """Leased slots, longest held first."""
        leased = (slot for slot in self.slots if slot.state is SlotState.LEASED)
        return iter(sorted(leased, key=lambda slot: slot.leased_at))

    def snapshot(self, name: str) -> PoolStats:
        """The numbers of this moment; ``take_stock()`` first."""
        counters = self.counters
        totals = {f.name: getattr(counters, f.name) for f in dataclasses.fields(counters)}
        totals["closed"] = MappingProxyType(dict(counters.closed))
        for slot in self.slots:
            totals["checkouts"] += slot.retaken
            totals["hold_seconds"] += slot.held_seconds
        return PoolStats(
            name=name,
            status=self.status.value,
            generation=self.generation,
            max_size=self.limits.max_size,
            min_size=self.limits.min_size,
            size=len(self.slots),
            connecting=self.count(SlotState.CONNECTING),
            idle=self.count(SlotState.IDLE),
            leased=self.count(SlotState.LEASED),
            maintenance=self.count(SlotState.MAINTENANCE),
            waiting=len(self.waiters),
            **totals,
        )
