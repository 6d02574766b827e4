"""Who has what and who is next: every decision of a pool, and none of its deeds."""

from __future__ import annotations

import enum
from collections import OrderedDict
from traceback import StackSummary
from typing import Any, Generic
from weakref import ref

from .clock import Bell
from .decision import Decision
from .driver import C
from .growth import Growth
from .lease import Home, Lease
from .limits import Limits
from .lost import RESTS_WARM, Lost
from .owner import Owner, here
from .scope import Scope, ScopeState
from .slot import (
    CLOSED,
    CONNECTING,
    DUE,
    ENTERED,
    IDLE,
    KEPT,
    LEASED,
    MAINTENANCE,
    NEVER_WARM,
    NEW,
    CloseReason,
    Slot,
    SlotState,
    look_into,
)
from .stats import Counters
from .waiter import Waiter

#: A waiter looks for itself this often, in seconds. Nothing relies on it except that a
#: thread interrupted between serving a waiter and ringing its bell delays that waiter
#: by no more than this.
LOOK_AGAIN = 1.0


class PoolStatus(enum.Enum):
    OPEN = "open"
    #: Hands nothing out until it is resumed; what is out may come back.
    SUSPENDED = "suspended"
    CLOSED = "closed"


OPEN = PoolStatus.OPEN


class PoolState(Generic[C]):
    """The tables of one pool. Every field is guarded by the pool's lock.

    What keeps it whole when an exception strikes in the middle of a method (a signal
    handler's, say, which CPython runs between any two bytecodes of the main thread):

    * A slot's own fields are the truth, and ``cold`` and ``warm`` only an index. An entry of
      ``cold`` counts while its slot is IDLE without an owner, one of ``warm`` while its slot is
      IDLE with one. A slot is entered before it becomes IDLE and taken out after it
      ceased to be, so each IDLE slot has an entry that counts; the others are dropped when
      they surface.
    * A slot that is not IDLE belongs to a lease (``Slot.lease``), also while the pool works on
      it. The lease learns of its slot *before* the slot is marked, and the slot is IDLE *before*
      it forgets the lease. A caller that is interrupted in between drops the lease, the lease's
      finaliser reports it, and ``_take_in_locked`` takes the slot back if it is still that
      lease's.
    * A new slot counts from the single operation that adds it to ``slots``, and no
      longer from the one that removes it.

    It cannot deadlock: nothing in here blocks or calls code of others.
    """

    def __init__(self, home: Home, limits: Limits, lost: Lost) -> None:
        self.home = home
        self.lost = lost
        self.status = OPEN
        self.generation = 1
        #: Every slot that is not CLOSED, oldest first.
        self.slots: dict[Slot[C], None] = {}
        #: Those whose connections are being opened.
        self.connecting: dict[Slot[C], None] = {}
        #: Idle without an owner, longest idle first. Ordered dicts, whose ends and middle are
        #: reached in the same time, however many there are.
        self.cold: OrderedDict[Slot[C], None] = OrderedDict()
        #: Idle and their owners', longest idle first.
        self.warm: OrderedDict[Slot[C], None] = OrderedDict()
        #: First come, first served.
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.counters = Counters()
        self.set_limits_locked(limits)
        # Beside them, because a query may add to them.
        self.checkouts = self.waits = 0
        self.hold_seconds = self.wait_seconds = 0.0
        self.growth = Growth()
        #: Rung whenever a slot is removed, for those who wait for old ones to go.
        self.drainers: list[Bell] = []
        self._swept_at = float("-inf")

    def set_limits_locked(self, limits: Limits) -> None:
        self.limits = limits
        self.timeout = limits.timeout
        self.keeps_warm = limits.release == "request"
        #: As in ``limits``, but infinity where there is no limit.
        self.max_size = float("inf") if limits.max_size is None else limits.max_size
        #: After so many seconds a connection is looked into before it is handed out: at once,
        #: where it is to be noted who got it.
        self.look_after = limits.check_after
        if limits.leak_threshold:
            self.look_after = float("-inf")
        self._note_locked()

    def _note_locked(self) -> None:
        """Work out what is asked on the way of every query; after whatever it depends on."""
        limits = self.limits
        self.is_open = self.status is OPEN
        self.is_full = len(self.slots) >= self.max_size
        #: What comes back is for the waiters, also if it would stay warm.
        self.hands_over = self.is_open and limits.reclaim
        #: A newcomer that finds nothing idle cannot but wait.
        self.is_exhausted = self.is_full and self.hands_over and not limits.max_waiting

    # Handing out

    def retake_locked(self, slot: Slot[C], lease: Lease[C], owner: Owner, now: float) -> bool:
        """Serve a lease with the slot that is warm for its owner; false if it is not any more.

        Also if there are waiters: they have taken it already if they may.
        """
        if (
            slot.state is not IDLE
            or slot.owner is not owner
            or now - slot.idle_since > self.look_after
        ):
            return False
        # As ``_assign_locked()``, where owner and unit of work stay what they are.
        lease.slot = slot
        slot.lease = ref(lease, slot.on_lease_collected)
        slot.state = LEASED
        slot.leased_at = now
        del self.warm[slot]
        return True

    def acquire_locked(
        self,
        lease: Lease[C],
        owner: Owner,
        scope: Scope | None,
        now: float,
        timeout: float | None,
    ) -> Waiter | None:
        """Serve ``lease`` at once, or put its waiter into the queue, which is returned."""
        # What lay warm for so long that it was not retaken is the owner's, also if others wait.
        if self.warm and owner.held and self.is_open:
            slot = self._own_warm_locked(owner)
            if slot is not None:
                self._assign_locked(slot, lease, owner, scope, LEASED, now)
                self.warm.pop(slot, None)
                return None
        if self.cold and self.is_open and not self.waiters:
            slot = next(reversed(self.cold))
            if slot.state is IDLE:
                self._assign_locked(slot, lease, owner, scope, LEASED, now)
                del self.cold[slot]
                if scope is not None and self.keeps_warm and slot.due is NEW:
                    # As ``_enter_scope_locked()``, which it would come to when it rests.
                    slot.due = ENTERED
                    scope.slots[slot] = self.home
                    if scope.state:  # Looked at after it was entered: see ``Scope.end``.
                        slot.due = DUE
                return None
        waiter = Waiter(lease, owner, scope, now, self.timeout if timeout is None else timeout)
        if not self.is_exhausted or self.cold or self.warm:
            waiter.decision = self.enqueue_locked(waiter, now)
            return waiter
        # As ``enqueue_locked()``, where a pass would find nothing.
        if not self.waiters:
            self.lost.first = waiter
        self.waiters[waiter] = None
        self.waits += 1
        if self.lost.queue:  # Looked at after its bell can be rung: see ``Lost``.
            waiter.decision = self.serve_locked(now)
        return waiter

    def _promise_locked(self, waiter: Waiter, now: float) -> bool:
        """Give the waiter its own warm slot, a cold one, a new one, or the longest warm one."""
        owner = waiter.owner
        slot = self._own_warm_locked(owner) or self._last_locked(self.cold, is_warm=False)
        if slot is None and self._is_full_locked(now):
            slot = self._last_locked(self.warm, is_warm=True) if self.limits.reclaim else None
            if slot is None:
                return False
            self.counters.reclaimed += 1
        if slot is None:
            may_wait = len(self.slots) > len(self.connecting)
            if may_wait and self.growth.should_wait(waiter, len(self.waiters), now):
                return False
            return self.reserve_locked(waiter.lease, owner, waiter.scope, now)
        self._assign_locked(slot, waiter.lease, owner, waiter.scope, LEASED, now)
        self.cold.pop(slot, None)
        self.warm.pop(slot, None)
        return True

    def _own_warm_locked(self, owner: Owner) -> Any:
        """What the owner left warm here, and did not retake because it lay for long."""
        slot: Any
        for slot in owner.held.copy():  # Which changes under the locks of other pools, too.
            if slot in self.warm and slot.state is IDLE and slot.owner is owner:
                return slot
        return None

    def reserve_locked(
        self, lease: Lease[C], owner: Owner, scope: Scope | None, now: float
    ) -> bool:
        """Give ``lease`` a place for a connection that its owner opens; false if there is none."""
        if self._is_full_locked(now) or len(self.connecting) >= self.limits.max_connecting:
            return False
        slot: Slot[C] = Slot(self.lost, self.generation)
        self._assign_locked(slot, lease, owner, scope, CONNECTING, now)
        self.slots[slot] = None
        self.connecting[slot] = None
        self._note_locked()
        return True

    def opened_locked(
        self, lease: Lease[C], slot: Slot[C], started: float, now: float
    ) -> Decision[C]:
        """A connection was opened for ``lease``, which has it now unless the pool was closed."""
        counters = self.counters
        counters.opened += 1
        counters.connect_seconds += now - started
        self.connecting.pop(slot, None)
        if self.status is PoolStatus.CLOSED:
            return self._retire_locked(lease, slot, now)
        if slot.generation != self.generation or len(self.slots) > self.max_size:
            self._doom_locked([slot])  # That was decided meanwhile.
        self.growth.connect_time = now - started
        slot.idle_since = slot.leased_at = now
        slot.state = LEASED
        return self.serve_locked(now)  # One connect fewer is under way: the next may begin.

    def failed_locked(
        self, lease: Lease[C], started: float, now: float, *, is_refused: bool
    ) -> tuple[bool, Decision[C]]:
        """A connect failed; whether to wait for others, because the server is full."""
        self.checkouts -= 1
        self.counters.connect_failures += 1
        self.counters.connect_seconds += now - started
        if is_refused:
            self.growth.refuse(now)
        may_wait = is_refused and len(self.slots) > 1  # Those being opened count, too.
        return may_wait, self.remove_locked(lease, None, now)

    def _is_full_locked(self, now: float) -> bool:
        """Whether there can be no further connection, by our limit or by the server's."""
        return len(self.slots) >= self.max_size or (
            bool(self.slots) and self.growth.is_refused(now)
        )

    @staticmethod
    def _last_locked(index: OrderedDict[Slot[C], None], *, is_warm: bool) -> Slot[C] | None:
        """The first entry of ``warm``, or the last of ``cold``, that counts."""
        while index:
            slot = next(iter(index) if is_warm else reversed(index))
            if slot.state is IDLE and (slot.owner is not None) is is_warm:
                return slot
            del index[slot]
        return None

    def _assign_locked(  # noqa: PLR0917 - called by position, on the way of queries
        self,
        slot: Slot[C],
        lease: Lease[C],
        owner: Owner,
        scope: Scope | None,
        state: SlotState,
        now: float,
    ) -> None:
        """Make the slot the lease's, after which the caller takes it out of its index.

        A second time does no harm.
        """
        lease.slot = slot
        slot.lease = ref(lease, slot.on_lease_collected)  # From here on it is the lease's.
        slot.state = state
        slot.leased_at = now
        previous = slot.owner
        if previous is not None:
            previous.held.pop(slot, None)
        owner.held[slot] = None
        slot.owner = owner
        if slot.due is not NEW:
            self._leave_scope_locked(slot)
            slot.due = NEW
        if scope is None:
            slot.scope = None
        else:
            slot.scope = scope.ref
            scope.takes[lease.pool] += 1
            if scope.state:
                slot.due = NEVER_WARM
        self.checkouts += 1

    def _enter_scope_locked(self, slot: Slot[C]) -> bool:
        """Have a slot that is to rest given back with its unit of work; false if it goes at once.

        Only now, because most slots under contention never rest.
        """
        scope = None if slot.scope is None else slot.scope()
        if slot.due is NEW:
            slot.due = ENTERED
            if scope is not None:
                scope.slots[slot] = self.home
            # Looked at after it was entered: see ``Scope.end``.
            if slot.scope is not None and (scope is None or scope.state):
                slot.due = DUE
        elif slot.due is NEVER_WARM and scope is not None:
            scope.slots[slot] = self.home  # It may be kept, and the unit may not be over yet.
        return slot.due is ENTERED

    def _leave_scope_locked(self, slot: Slot[C]) -> None:
        scope = None if slot.scope is None else slot.scope()
        slot.scope = None
        if scope is not None:
            scope.slots.pop(slot, None)

    # Taking back

    def release_locked(
        self, lease: Lease[C], now: float, is_warm: bool
    ) -> Waiter | Decision[C] | None:
        """Take a clean slot back: retire it, hand it over, or put it back.

        Returns the waiter to ring for if it was handed over and there is nothing else to do.
        """
        slot = lease.slot
        if slot is None:
            return None  # Its owner died while another thread was releasing for it.
        self.hold_seconds += now - slot.leased_at
        if now >= slot.expires_at:
            return self._retire_locked(lease, slot, now)
        if self.waiters:
            return self._release_to_waiters_locked(lease, slot, now, is_warm)
        slot.idle_since = now
        if is_warm and (slot.due is ENTERED or self._enter_scope_locked(slot)):
            self.warm[slot] = None
        else:
            self._make_cold_locked(slot)
        slot.state = IDLE
        slot.lease = None
        lease.slot = None
        return None

    def _release_to_waiters_locked(
        self, lease: Lease[C], slot: Slot[C], now: float, is_warm: bool
    ) -> Waiter | Decision[C]:
        """Hand it over to the first waiter, straight from hand to hand, or make a pass."""
        waiters = self.waiters
        waiter = next(iter(waiters))
        if waiter.lease.slot is not None or not (self.hands_over or (self.is_open and not is_warm)):
            self._put_down_locked(slot, now, is_warm=is_warm)
            lease.slot = None
            return self.serve_locked(now)
        slot.idle_since = now
        self._assign_locked(slot, waiter.lease, waiter.owner, waiter.scope, LEASED, now)
        # As ``_dismiss_locked()``.
        waiter.is_out = True
        del waiters[waiter]
        self.lost.first = next(iter(waiters)) if waiters else None
        self.wait_seconds += now - waiter.lined_up_at
        waiter.lease = None
        lease.slot = None
        if self.is_full:
            return waiter
        self.growth.note_return(now)
        return self._wake_first_locked(waiter)

    def _wake_first_locked(self, served: Waiter) -> Decision[C]:
        """Ring for the one that was served, and for the next, which may have to wait to connect."""
        decision: Decision[C] = Decision(served)
        if self.lost.first is not None:
            decision.wake.append(self.lost.first)
        return decision

    def _put_down_locked(self, slot: Slot[C], now: float, *, is_warm: bool) -> None:
        """Make a slot idle that comes back."""
        slot.idle_since = now
        if is_warm and slot.owner is not None and self._enter_scope_locked(slot):
            self.warm[slot] = None
        else:
            self._make_cold_locked(slot)
        slot.state = IDLE
        slot.lease = None

    def _make_cold_locked(self, slot: Slot[C]) -> None:
        """Take its owner from it. If it is IDLE, it stays so throughout."""
        owner = slot.owner
        self.cold[slot] = None
        slot.owner = None
        if owner is not None:
            self.warm.pop(slot, None)
            owner.held.pop(slot, None)
        if slot.due is not NEW:
            slot.due = NEW
            self._leave_scope_locked(slot)
        slot.scope = None

    def put_back_locked(self, lease: Lease[C], slot: Slot[C], now: float) -> Decision[C] | None:
        """End the pool's own work on a slot, which becomes what it was before, or cold."""
        if slot.owner is None or slot.due is not ENTERED:
            self._make_cold_locked(slot)
        else:
            self.warm[slot] = None
        slot.state = IDLE
        slot.lease = None
        lease.slot = None
        return self.serve_locked(now)

    def cool_locked(self, slot: Slot[C], owner: Owner) -> bool:
        """Make cold what is warm for the owner; whether it was."""
        if slot.owner is owner and slot.state is IDLE:
            # As ``_make_cold_locked()``.
            self.cold[slot] = None
            slot.owner = None
            self.warm.pop(slot, None)
            owner.held.pop(slot, None)
            slot.due = NEW
            if slot.scope is not None:
                scope = slot.scope()
                slot.scope = None
                if scope is not None:
                    scope.slots.pop(slot, None)
            return True
        if slot.owner is owner and slot.state is MAINTENANCE:
            slot.due = DUE
        return False

    def reason_to_retire_locked(self, slot: Slot[C], now: float) -> CloseReason | None:
        """Why a connection that comes back, or lies idle, should not be used again."""
        if self.status is PoolStatus.CLOSED:
            return CloseReason.POOL_CLOSED
        if slot.generation != self.generation:
            return CloseReason.RECYCLED
        if len(self.slots) > self.max_size or slot.expires_at == float("-inf"):
            return CloseReason.SHRUNK
        return CloseReason.LIFETIME if now >= slot.expires_at else None

    def _retire_locked(self, lease: Lease[C], slot: Slot[C], now: float) -> Decision[C]:
        slot.state = MAINTENANCE
        reason = self.reason_to_retire_locked(slot, now) or CloseReason.RECYCLED
        return Decision(close=(lease, reason))

    def remove_locked(self, lease: Lease[C], reason: CloseReason | None, now: float) -> Decision[C]:
        """Forget a slot, whose connection (if it ever had one) is closed for ``reason``."""
        slot = lease.held_slot()
        self._forget_locked(slot)
        if reason is not None:
            self.counters.closed[reason.value] += 1
        lease.slot = None
        decision = self._serve_and_wake_locked(now)
        decision.wake += self.drainers
        return decision

    def _forget_locked(self, slot: Slot[C]) -> None:
        self.slots.pop(slot, None)
        self.connecting.pop(slot, None)
        self._note_locked()
        slot.state = CLOSED
        slot.lease = None
        if slot.owner is not None:
            slot.owner.held.pop(slot, None)
        self._leave_scope_locked(slot)

    # A lease that is at rest, and its unit of work

    def move_locked(self, lease: Lease[C], scope: Scope | None) -> None:
        """Have the lease be of another unit of work, unless its own is over: then it goes."""
        slot = lease.slot
        if slot is None or slot.due is DUE:
            return
        self._leave_scope_locked(slot)
        slot.due = NEW
        if scope is not None:
            slot.scope = scope.ref
            if scope.state is ScopeState.EAGER:
                slot.due = NEVER_WARM

    def keep_locked(self, lease: Lease[C], now: float) -> bool:
        """Keep the lease while it is not used; false if its unit of work is over."""
        slot = lease.slot
        if slot is None:
            return False
        self._enter_scope_locked(slot)
        if slot.due is DUE:
            return False
        slot.idle_since = now
        slot.state = KEPT
        return True

    def use_locked(self, lease: Lease[C]) -> bool:
        """Use it again; false if it was taken back meanwhile."""
        slot = lease.slot
        if slot is None:
            return False
        slot.state = LEASED
        return True

    def end_scope_locked(
        self, slot: Slot[C], now: float
    ) -> tuple[Lease[C] | None, bool, Decision[C] | None]:
        """The unit of work of a slot is over.

        Returns a lease of the calling thread's that it must release, if the slot was kept;
        whether the slot went; and what is to be done.
        """
        if slot.state is IDLE:
            self._make_cold_locked(slot)
            return None, True, self.serve_locked(now) if self.waiters else None
        if slot.state is KEPT:
            self._end_lease_locked(slot)
            lease: Lease[C] = Lease(self.home)
            self._assign_locked(slot, lease, here.owner, None, LEASED, now)
            self.checkouts -= 1
            return lease, True, None
        slot.due = DUE
        return None, False, None

    @staticmethod
    def _end_lease_locked(slot: Slot[C]) -> None:
        """The slot is taken back from a lease that may be alive."""
        lease = None if slot.lease is None else slot.lease()
        if lease is not None:
            lease.slot = None

    def open_locked(self) -> None:
        """Undo ``suspend_locked()``."""
        if self.status is PoolStatus.SUSPENDED:
            self.status = OPEN
            self._note_locked()

    def never_warm_locked(self, lease: Lease[C]) -> None:
        """Put the slot back cold when the lease is over."""
        slot = lease.slot
        if slot is not None:
            self._enter_scope_locked(slot)
            slot.due = NEVER_WARM if slot.due is ENTERED else slot.due

    def share_locked(self, lease: Lease[C]) -> None:
        """Outlive the owner's thread, because others use the connection too."""
        slot = lease.held_slot()
        self.never_warm_locked(lease)
        if slot.owner is not None:
            slot.owner.held.pop(slot, None)
            slot.owner = None

    def unshare_locked(self, lease: Lease[C], owner: Owner) -> None:
        """Be ``owner``'s alone again, if it has not ended meanwhile."""
        slot = lease.slot
        if slot is not None:
            owner.held[slot] = None
            slot.owner = owner

    # The queue

    def enqueue_locked(self, waiter: Waiter, now: float, *, is_first: bool = False) -> Decision[C]:
        """Put a waiter into the queue and make one pass, or refuse it.

        One that ``is_first`` had its turn already, and what it got was no good.
        """
        waiters = self.waiters
        decision: Decision[C] = Decision()
        if self.status is PoolStatus.CLOSED:
            self._refuse_locked(waiter, self.home.errors.closed, _CLOSED)
            return decision
        limit = 0 if is_first else self.limits.max_waiting
        if 0 < limit <= len(waiters):
            for other in waiters:  # Before any is refused, none waits that might connect.
                other.is_hurried = True
            decision = self.serve_locked(now)
            if limit <= len(waiters):
                self.counters.rejected += 1
                self._refuse_locked(waiter, self.home.errors.too_many, _TOO_MANY)
                return decision
        if not waiters:
            self.growth.begin(now)
        waiters[waiter] = None
        if is_first:
            waiters.move_to_end(waiter, last=False)
        decision.add(self.serve_locked(now))
        self.waits += not waiter.is_out
        return decision

    def _refuse_locked(self, waiter: Waiter, error: type[Exception], message: str) -> None:
        waiter.error = error(message.format(name=self.home.name, waiting=len(self.waiters)))
        waiter.is_out = True

    def serve_locked(self, now: float) -> Decision[C]:
        """One pass: give the longest waiters what there is.

        Called after anything that may have freed capacity or let the pool grow.
        """
        decision: Decision[C] = Decision()
        while True:
            self.lost.first = next(iter(self.waiters)) if self.waiters else None
            self._take_in_locked(now, decision)
            while self.waiters:
                waiter = next(iter(self.waiters))
                if self.status is PoolStatus.CLOSED:
                    waiter.error = self.home.errors.closed(f"Pool {self.home.name!r} was closed.")
                elif self.status is not OPEN:
                    break
                elif self._complete_locked(waiter, now):
                    pass
                elif not self._promise_locked(waiter, now):
                    break
                self._dismiss_locked(waiter, now)
                decision.wake.append(waiter)
            if not self.lost.queue:
                break
        if decision.wake and self.lost.first is not None and len(self.slots) < self.max_size:
            decision.wake.append(self.lost.first)  # It may have to wait for its turn to connect.
        return decision

    def _complete_locked(self, waiter: Waiter, now: float) -> bool:
        """Complete what the thread that promised it was interrupted in; whether it was promised."""
        lease, slot = waiter.lease, waiter.lease.slot
        if slot is None:
            return False
        if slot in self.slots and lease.is_held():
            self._assign_locked(slot, lease, waiter.owner, waiter.scope, slot.state, now)
            return True
        lease.slot = None  # Not marked yet, or not counted yet.
        return False

    def _dismiss_locked(self, waiter: Waiter, now: float) -> None:
        """The first waiter has what it came for."""
        # Before it is taken out: interrupted in between, it is dismissed once more.
        waiter.is_out = True
        waiters = self.waiters
        waiters.pop(waiter, None)
        self.lost.first = next(iter(waiters)) if waiters else None
        self.wait_seconds += now - waiter.lined_up_at
        waiter.lease = None  # Only the thread that waited keeps it alive from now on.

    def withdraw_locked(self, waiter: Waiter, now: float) -> Decision[C]:
        """A waiter leaves without having been served; what it was rung for may be there still."""
        if not waiter.is_out:
            self._complete_locked(waiter, now)
            self.waiters.pop(waiter, None)
            self.wait_seconds += now - waiter.lined_up_at
        return self._serve_and_wake_locked(now)

    def _serve_and_wake_locked(self, now: float) -> Decision[C]:
        """A pass, after which the first waiter may have to wait for another time than before."""
        decision = self.serve_locked(now)
        if self.lost.first is not None and not self.is_full:
            decision.wake.append(self.lost.first)
        return decision

    def look_again_locked(self, waiter: Waiter, now: float) -> Decision[C] | None:
        """A waiter woke up by itself, or was rung for: make a pass, if it is the first.

        The first may be a thread's that was interrupted, and that never looks: now and then any
        waiter looks at everything.
        """
        if now - self._swept_at >= LOOK_AGAIN:
            return self.sweep_locked(now)
        if self.lost.first is not waiter and not self.lost.queue:
            return None
        return self.serve_locked(now)

    def pause_of(self, waiter: Waiter, now: float) -> float:
        """Seconds after which a waiter looks for itself, although its bell did not ring.

        Only the first may have to wait for its turn to connect. Called without the lock: if
        what it sees changes, the thread that changes it rings the first waiter's bell.
        """
        if self.lost.first is waiter and len(self.slots) < self.max_size:
            return self.growth.pause(now) or LOOK_AGAIN
        return LOOK_AGAIN

    # Lost and found

    def _take_in_locked(self, now: float, decision: Decision[C]) -> None:
        """Take back the slots whose leases, owners or units of work ended without a word."""
        queue = self.lost.queue
        while queue:
            slot, witness, how = queue[0]
            if witness is slot.lease or witness is slot.owner or witness is slot.scope:
                self._take_back_locked(slot, witness, how, now, decision)
            queue.popleft()  # Not before: this may be interrupted.

    def _take_back_locked(
        self, slot: Slot[C], witness: object, how: str, now: float, decision: Decision[C]
    ) -> None:
        state = slot.state
        if state is CLOSED:
            return
        if state is IDLE:
            self._make_cold_locked(slot)
            return
        if witness is not slot.lease and (state is MAINTENANCE or witness is slot.scope):
            slot.due = DUE
            if state is not KEPT:
                return
        if how:
            self.hold_seconds += now - slot.leased_at
        elif state in {LEASED, KEPT} and witness is not slot.scope:
            self.counters.reaped += 1
            self.hold_seconds += now - slot.leased_at
            decision.reaped.append("shared by several" if slot.owner is None else slot.owner.name)
        if slot.connection is None:
            self._end_lease_locked(slot)
            self._forget_locked(slot)
            decision.wake += self.drainers
            return
        self._find_again_locked(slot, now, is_warm=how == RESTS_WARM)

    def _find_again_locked(self, slot: Slot[C], now: float, *, is_warm: bool) -> None:
        """Make a slot idle that nobody has cleaned; the next who gets it does."""
        self._end_lease_locked(slot)
        slot.is_dirty = True
        slot.watch = look_into
        self.connecting.pop(slot, None)
        self._put_down_locked(slot, now, is_warm=is_warm)
        if self.waiters:
            self.growth.note_return(now)

    def sweep_locked(self, now: float) -> Decision[C]:
        """Find what finalisers should have reported, but were themselves interrupted."""
        self._swept_at = now
        for slot in self.slots:
            if slot.is_forsaken():
                is_collected = slot.lease is not None and slot.lease() is None
                witness = slot.lease if is_collected else slot.owner
                self.lost.queue.append((slot, witness, ""))
        return self.serve_locked(now)

    def leaks_locked(self, now: float) -> list[tuple[Owner | None, StackSummary, float]]:
        """Owner, stack and age of leases held for ``leak_threshold``; of each only once."""
        leaks = []
        for slot in self.slots:
            stack, held = slot.stack, now - slot.leased_at
            is_held = slot.lease is not None and slot.state is not IDLE
            if is_held and stack is not None and held >= self.limits.leak_threshold:
                leaks.append((slot.owner, stack, held))
                slot.stack = None
        return leaks

    # Retiring

    def claim_locked(self, slot: Slot[C]) -> Lease[C]:
        """Take an idle slot for the pool's own work; it stays warm for its owner, if it is."""
        lease: Lease[C] = Lease(self.home)
        lease.slot = slot
        slot.lease = ref(lease, slot.on_lease_collected)
        slot.state = MAINTENANCE
        self.cold.pop(slot, None)
        self.warm.pop(slot, None)
        return lease

    def idle_slots_locked(self) -> list[Slot[C]]:
        """Idle slots, longest idle first."""
        idle = (slot for slot in self.slots if slot.state is IDLE)
        return sorted(idle, key=lambda slot: slot.idle_since)

    def close_idle_locked(self, reason: CloseReason, *, most: int | None = None) -> Decision[C]:
        """Take idle slots, longest idle first, to be closed."""
        decision: Decision[C] = Decision()
        decision.close += [
            (self.claim_locked(slot), reason) for slot in self.idle_slots_locked()[:most]
        ]
        return decision

    def condemn_locked(self) -> Decision[C]:
        """Begin a new generation; idle connections of older ones are to be closed."""
        self._doom_locked(list(self.slots))
        self.generation += 1
        return self.close_idle_locked(CloseReason.RECYCLED)

    @staticmethod
    def _doom_locked(slots: list[Slot[C]]) -> None:
        """Have them retired when they come back; ``reason_to_retire_locked()`` says why."""
        for slot in slots:
            slot.expires_at = float("-inf")

    def resize_locked(self, limits: Limits, now: float) -> Decision[C]:
        """Change the limits; what is above them is closed now, or when it comes back."""
        self.set_limits_locked(limits)
        surplus = int(max(0, len(self.slots) - self.max_size))
        decision = self.close_idle_locked(CloseReason.SHRUNK, most=surplus)
        busy = [slot for slot in self.slots if slot.state is not MAINTENANCE]
        self._doom_locked(busy[: surplus - len(decision.close)])
        decision.add(self._serve_and_wake_locked(now))
        return decision

    def suspend_locked(self) -> None:
        """Hand nothing out until the status is OPEN again, and keep nothing warm until then."""
        self.status = PoolStatus.SUSPENDED
        self._note_locked()
        for slot in self.slots:
            slot.due = DUE
            if slot.state is IDLE:
                self._make_cold_locked(slot)

    def close_locked(self, now: float) -> Decision[C]:
        """Refuse from now on: waiters are told, idle connections are to be closed."""
        self.status = PoolStatus.CLOSED
        self._note_locked()
        self._doom_locked(list(self.slots))
        decision = self.serve_locked(now)  # First, because it takes in what was lost.
        decision.add(self.close_idle_locked(CloseReason.POOL_CLOSED))
        return decision


_CLOSED = (
    "Pool {name!r} is closed; the next query on connections[{name!r}] makes a new one, so do not "
    "keep pools."
)
_TOO_MANY = (
    "Pool {name!r} has {waiting} callers waiting already, which is max_waiting; try again later, "
    "or raise max_size or max_waiting."
)
