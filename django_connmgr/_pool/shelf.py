"""Slots that nobody has, and how they come back: idle, parked, orphaned, removed."""

from __future__ import annotations

from collections import deque

from .clock import Bell
from .driver import C
from .limits import Limits
from .line import Line
from .owner import Owner
from .slot import CloseReason, Lease, Slot, SlotState

#: Seconds from one search for owners that died unheard of to the next. Such do not exist, as
#: long as finalisers are not interrupted, so it does not pay to search at every wait.
SWEEP_DISTANCE = 0.1


class Shelf(Line[C]):
    """The part of a ledger that takes slots back. The caller holds the pool's lock, where a
    method does not say otherwise.

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

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
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

    # Coming back

    def put_back(self, slot: Slot[C], now: float) -> None:
        """Make a slot idle, whoever had it."""
        slot.idle_since = now
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

    def idle_slots(self) -> list[Slot[C]]:
        """Idle slots, longest idle first."""
        # Entries that do not surface, because others are lent before them, end here.
        idle = (slot for slot in dict.fromkeys(self._idle) if slot.state is SlotState.IDLE)
        self._idle = sorted(idle, key=lambda slot: slot.idle_since)
        return self._idle.copy()

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
        self._close_account(slot)
        slot.lease_id = 0
        slot.owner = None
        if owner is not None:
            owner.held.pop(slot, None)

    def _close_account(self, slot: Slot[C]) -> None:
        """Count what its lease counted without the lock."""
        self.counters.checkouts += slot.retaken
        self.counters.hold_seconds += slot.held_seconds
        slot.retaken, slot.held_seconds = 0, 0.0

    # Lost and found

    def settle(self, now: float) -> None:
        """Take back the slots of leases that ended without a release."""
        while self.orphans:
            slot, lease_id = self.orphans[0]
            if slot.lease_id == lease_id:
                self._take_back(slot, now)
            self.orphans.popleft()  # Not before: this may be interrupted.

    def find_orphans(self, now: float) -> bool:
        """True if something may have come back; looks for owners that died unheard of, at most
        every ``SWEEP_DISTANCE``.
        """
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
