"""Who has which slot and who is next: every decision of the pool, and none of its deeds."""

from __future__ import annotations

import dataclasses
import enum
import operator
import weakref
from collections import deque
from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..exceptions import PoolClosed
from .clock import Bell
from .driver import C
from .limits import Limits
from .line import Line
from .owner import Owner, current_owner
from .slot import CloseReason, Lease, Slot, SlotState
from .stats import PoolStats
from .waiters import Waiter

if TYPE_CHECKING:
    from .pool import ConnectionPool

#: Seconds from one search for owners that died unheard of to the next. Such do not exist, as
#: long as finalisers are not interrupted, so it does not pay to search at every wait.
SWEEP_DISTANCE = 0.1


_used_at = operator.attrgetter("used_at")


class PoolStatus(enum.Enum):
    OPEN = "open"
    #: Hands nothing out until it is resumed; what is out may come back.
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Ledger(Line[C]):
    """The state of one pool. The caller holds the pool's lock, where a method does
    not say otherwise.

    What keeps it whole when an exception strikes in the middle of a method (a signal
    handler's, say, which CPython runs between any two bytecodes of the main thread):

    * ``Slot.state`` is the truth and ``_idle`` only a hint. An entry counts while its
      slot is ``IDLE``; others, and second entries, are dropped when they surface.
    * A slot that is not idle belongs to a lease (``lease_id``), also while the pool
      works on it. The lease learns of its slot *before* the slot is marked, and the slot
      is idle *before* it forgets the lease. So whoever is interrupted in between drops
      the lease, its finaliser reports (slot, number), and ``settle`` takes the slot
      back if that number still holds it. Numbers are never used twice.
    * A new slot counts from the single operation that adds it to ``slots``, and no
      longer from the one that removes it.
    """

    def __init__(self, pool: ConnectionPool[C], limits: Limits) -> None:
        super().__init__(limits)
        self._pool = pool
        self.status = PoolStatus.OPEN
        self.generation = 1
        #: Changes with every decision that leases have to hear of when they are released.
        self.epoch = 1
        self._idle: list[Slot[C]] = []  # Last returned, last in; see the class.
        #: Leases that were released without the lock, by the thread that may retake them.
        #: Only single dict operations touch it, each atomic; see ``gather()``.
        self.parked: dict[Owner, Lease[C]] = {}
        #: Names of threads that died holding a lease, to be logged outside the lock.
        self.obituaries: deque[str] = deque()
        #: Rung whenever a slot is removed, for those who wait for old ones to go.
        self.drainers: list[Bell] = []
        self._swept_at = float("-inf")

    # Finalisers

    def report(self, slot: Slot[C], lease_id: int) -> bool:
        """Note that a lease ended without a release; false if nobody was told to look.

        No lock, no I/O: see ``Bell`` and ``orphans``. A waiter cannot sleep through it:
        it stands in the queue *before* the queue of orphans is looked at for the last
        time, and this appends *before* it looks at the queue of waiters, so one of the
        two sees the other. And if the waiter rung here was being served at that moment,
        ``serve`` looks at the orphans again after it took that waiter off the queue.
        """
        self.orphans.append((slot, lease_id))
        return self.nudge()

    # Handing out

    def promise(
        self,
        lease: Lease[C],
        owner: Owner,
        now: float,
        *,
        is_patient: bool = True,
        may_grow: bool = True,
        may_reclaim: bool = False,
    ) -> bool:
        """Give ``lease`` an idle slot, a new one to connect, or one that its owner does not use.

        Who ``is_patient`` would rather wait a moment than connect; see ``Pace``.
        """
        if self.status is not PoolStatus.OPEN:
            return False
        idle = self._idle
        while idle or self.gather_one():
            slot = idle[-1]
            if slot.state is SlotState.IDLE:
                self._assign(slot, lease, owner, SlotState.LEASED, now)
                idle.pop()
                self.counters.checkouts += 1
                return True
            idle.pop()
        should_wait = is_patient and self._may_grow(now) and self._should_wait(now)
        if may_grow and not should_wait and self.reserve(lease, owner, now):
            return True
        return may_reclaim and self._reclaim(lease, owner, now)

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
        if not self.limits.reclaim or not self._is_exhausted(now):
            return False
        leased = [slot for slot in self.slots if slot.state is SlotState.LEASED]
        for slot in sorted(leased, key=_used_at):
            if slot.claim.reclaim():
                self.counters.reclaimed += 1
                self.counters.hold_seconds += now - slot.leased_at
                slot.is_dirty = True
                if slot.owner is not None:
                    slot.owner.held.pop(slot, None)
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
        if slot.owner is not None:
            slot.owner.held.pop(slot, None)
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

    def put_back(self, slot: Slot[C], now: float) -> None:
        """Make a slot idle, whoever had it."""
        slot.idle_since = now
        slot.is_warm = False
        if self.waiters:
            self.pace.note_return(now)
        self._idle.append(slot)
        slot.state = SlotState.IDLE
        self._part(slot)

    def gather(self) -> None:
        """Make idle what threads have parked.

        After whatever ends the epoch, nothing new is parked: a thread that parks looks at
        the epoch *after* it put its token down, and this looks for tokens *after* the epoch
        was changed, so one of the two sees the other. The queue likewise.
        """
        for owner in list(self.parked):
            self.unpark(owner)

    def gather_one(self) -> bool:
        """Make idle what was parked for longest; false if there is nothing of that kind."""
        return any(self.unpark(owner) for owner in list(self.parked))

    def unpark(self, owner: Owner) -> bool:
        """Make idle what this thread parked; false if it did not, or has it again."""
        lease = self.parked.pop(owner, None)
        slot = None if lease is None else lease.slot_to_gather()
        if lease is None or slot is None:
            return False
        # Parked too late to be found when something was decided: whoever gets it looks.
        slot.is_dirty = slot.is_dirty or lease.epoch != self.epoch
        self.put_back(slot, slot.idle_since)
        return True

    def begin_epoch(self) -> None:
        """Something is about to be decided: released leases come by the lock, to hear of it.

        Before it is decided, because whoever decides may be interrupted.
        """
        self.epoch += 1
        self.gather()

    def remove(self, slot: Slot[C], reason: CloseReason | None) -> None:
        """Forget a slot, whose connection (if it ever had one) is closed for ``reason``."""
        self.slots.pop(slot, None)
        slot.state = SlotState.CLOSED
        if reason is not None:
            self.counters.closed[reason.value] += 1
        self._part(slot)
        for bell in self.drainers:
            bell.ring()

    def _part(self, slot: Slot[C]) -> None:
        owner = slot.owner
        self.counters.checkouts += slot.retaken
        self.counters.hold_seconds += slot.held_seconds
        slot.retaken, slot.held_seconds = 0, 0.0
        slot.lease_id = 0
        slot.owner = None
        if owner is not None:
            owner.held.pop(slot, None)

    def reason_to_retire(self, slot: Slot[C], now: float) -> CloseReason | None:
        """Why a connection that comes back, or lies idle, should not be used again."""
        if self.status is PoolStatus.CLOSED:
            return CloseReason.POOL_CLOSED
        if slot.generation != self.generation:
            return CloseReason.RECYCLED
        if now >= slot.expires_at:
            return CloseReason.LIFETIME
        max_size = self.limits.max_size
        if max_size is not None and len(self.slots) > max_size:
            return CloseReason.SHRUNK
        return None

    def settle(self, now: float) -> None:
        """Take back the slots of leases that ended without a release."""
        while self.orphans:
            slot, lease_id = self.orphans[0]
            if slot.lease_id == lease_id:
                self._take_back(slot, now)
            self.orphans.popleft()  # Not before: this may be interrupted.

    def has_idle(self) -> bool:
        """Whether there may be idle slots."""
        return bool(self._idle)

    def find_orphans(self, now: float) -> bool:
        """Whether leases have ended without a release; looks for owners that died unheard of."""
        if now - self._swept_at >= SWEEP_DISTANCE:
            self.sweep(now)
            return True
        return bool(self.orphans)

    def sweep(self, now: float) -> None:
        """Take back what finalisers should have reported, but were themselves interrupted."""
        self._swept_at = now
        for slot in self.slots:
            if slot.is_forsaken():
                self.orphans.append((slot, slot.lease_id))
        self.settle(now)

    def _take_back(self, slot: Slot[C], now: float) -> None:
        if slot.state is SlotState.IDLE or slot.state is SlotState.CLOSED:
            return
        if slot.claim.unpark():  # It had been released.
            slot.is_dirty = True
            self.put_back(slot, slot.idle_since)
            return
        owner = slot.owner
        if slot.state is SlotState.LEASED:
            self.counters.reaped += 1
            self.counters.hold_seconds += now - slot.leased_at
            self.obituaries.append(owner.name if owner is not None else "shared by several")
        if slot.connection is None:
            self.remove(slot, None)
        else:
            slot.is_dirty = True
            self.put_back(slot, now)

    # The queue

    def serve(self, now: float) -> list[Waiter]:
        """Give the longest waiters what there is; returns those whom the caller must ring.

        Called after anything that may have freed capacity or let the pool grow.
        """
        served: list[Waiter] = []
        waiters = self.waiters
        while True:
            self.settle(now)
            while waiters:
                waiter = waiters[0]
                if self.status is PoolStatus.CLOSED:
                    waiter.error = PoolClosed(f"Pool {self._pool.name!r} was closed.")
                elif not waiter.lease.is_held() and not self.promise(
                    waiter.lease,
                    waiter.owner,
                    now,
                    is_patient=waiter.is_patient,
                    may_reclaim=True,
                ):
                    break
                served.append(waiter)
                waiters.popleft()
                waiter.is_out = True
                self.counters.wait_seconds += now - waiter.lined_up_at
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

    def idle_slots(self) -> list[Slot[C]]:
        """Idle slots, longest idle first."""
        # Entries that do not surface, because others are lent before them, end here.
        idle = (slot for slot in dict.fromkeys(self._idle) if slot.state is SlotState.IDLE)
        self._idle = sorted(idle, key=lambda slot: slot.idle_since)
        return self._idle.copy()

    def surplus(self) -> int:
        """How many slots there are above ``max_size``, after it was lowered."""
        max_size = self.limits.max_size
        return 0 if max_size is None else max(0, len(self.slots) - max_size)

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
