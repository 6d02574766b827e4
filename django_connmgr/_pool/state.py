"""Who has what and who is next: every decision of a pool, and none of its deeds."""

import enum
from collections import OrderedDict
from traceback import StackSummary
from typing import Generic
from weakref import WeakKeyDictionary, ref

from .cause import Cause
from .clock import Bell
from .decision import Decision
from .driver import C
from .growth import Growth
from .lease import Lease
from .limits import Limits
from .lost import Lost
from .owner import Owner, here
from .scope import RUNNING, Home, Scope
from .slot import CLOSED, CONNECTING, IDLE, KEPT, LEASED, MAINTENANCE, CloseReason, Slot, look_into
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
    * What was decided stays in ``decision`` until a thread takes it out, to carry it out.

    It cannot deadlock: nothing in here blocks or calls code of others.
    """

    def __init__(self, home: Home, limits: Limits, lost: Lost) -> None:
        self.home = home
        self.lost = lost
        self.status = PoolStatus.OPEN
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
        #: What is to be done without the lock, if anything.
        self.decision: Decision[C] | None = None
        self.counters = Counters()
        self.set_limits_locked(limits)
        self.growth = Growth()
        #: Rung whenever a slot is removed, for those who wait for old ones to go.
        self.drainers: list[Bell] = []
        self._swept_at = float("-inf")
        #: Leases that were ended under their owners, each with the cause; ``None``: an operator.
        self.killed: WeakKeyDictionary[Lease[C], Cause | None] = WeakKeyDictionary()

    def set_limits_locked(self, limits: Limits) -> None:
        self.limits = limits
        #: As in ``limits``, but infinity where there is no limit.
        self.max_size = float("inf") if limits.max_size is None else limits.max_size
        #: After so many seconds a connection is looked into before it is handed out: at once,
        #: where it is to be noted who got it, or how long that took.
        self.look_after = limits.check_after
        if limits.leak_threshold or limits.slow_acquire:
            self.look_after = float("-inf")
        self._note_locked()

    def _note_locked(self) -> None:
        """Work out what is asked on the way of every query; after whatever it depends on."""
        self.is_open = self.status is PoolStatus.OPEN
        self.is_full = len(self.slots) >= self.max_size
        #: A queue of this length takes no more.
        self.most_waiting = self.limits.max_waiting or float("inf")
        if self.status is PoolStatus.CLOSED:
            self.most_waiting = -1
        #: What comes back is for the waiters, also if it would stay warm.
        self.hands_over = self.is_open and self.limits.reclaim

    def _decide_locked(self) -> Decision[C]:
        """The decision that is being made."""
        if self.decision is None:
            self.decision = Decision()
        return self.decision

    def take_decision_locked(self) -> Decision[C] | None:
        """Take out what was decided, to carry it out."""
        decision, self.decision = self.decision, None
        return decision

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
        self, lease: Lease[C], owner: Owner, scope: Scope | None, now: float, timeout: float | None
    ) -> Waiter | None:
        """Serve ``lease`` at once, or return its waiter: in the queue, or out of it already."""
        if self.is_open:
            # What lay warm too long to be retaken is the owner's, also if others wait.
            if self.warm and owner.held and (slot := self._own_warm_locked(owner)) is not None:
                self._assign_locked(slot, lease, owner, scope, now)
                return None
            if self.cold and not self.waiters:
                slot = next(reversed(self.cold))
                if slot.state is IDLE and slot.owner is None:
                    self._assign_locked(slot, lease, owner, scope, now)
                    if scope is not None:
                        # As ``_enter_locked()``, when it comes to rest.
                        slot.is_entered = True
                        scope.slots[slot] = self.home
                        slot.stays_warm = scope.state is RUNNING
                    return None
        waiters = self.waiters
        waiter = Waiter(
            lease, owner, scope, now, self.limits.timeout if timeout is None else timeout
        )
        if len(waiters) >= self.most_waiting and self._refuse_locked(waiter, now):
            return waiter
        if not waiters:
            self.lost.first = waiter
            if not self.is_full:
                self.growth.begin(now)
        waiters[waiter] = None
        self.counters.waits += 1
        # What is lost is looked at after the waiter's bell can be rung: see ``Lost``.
        if self.lost.queue or not self.is_full or self.cold or self.warm:
            self.serve_locked(now)
            self.counters.waits -= waiter.is_out
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
            if may_wait and self.growth.should_wait(waiter.deadline, len(self.waiters), now):
                return False
            return self.reserve_locked(waiter.lease, owner, waiter.scope, now)
        self._assign_locked(slot, waiter.lease, owner, waiter.scope, now)
        return True

    def _own_warm_locked(self, owner: Owner) -> Slot[C] | None:
        """What the owner left warm here, and did not retake because it lay for long."""
        slot: Slot[C]
        for slot in owner.held.copy():  # Which changes under the locks of other pools, too.
            if slot in self.warm and slot.state is IDLE and slot.owner is owner:
                return slot
        return None

    @staticmethod
    def _last_locked(index: OrderedDict[Slot[C], None], *, is_warm: bool) -> Slot[C] | None:
        """The first entry of ``warm``, or the last of ``cold``, that counts."""
        while index:
            slot = next(iter(index) if is_warm else reversed(index))
            if slot.state is IDLE and (slot.owner is not None) is is_warm:
                return slot
            del index[slot]
        return None

    def reserve_locked(
        self, lease: Lease[C], owner: Owner, scope: Scope | None, now: float
    ) -> bool:
        """Give ``lease`` a place for a connection that its owner opens; false if there is none."""
        if self._is_full_locked(now) or len(self.connecting) >= self.limits.max_connecting:
            return False
        slot: Slot[C] = Slot(self.lost, self.generation)
        self._assign_locked(slot, lease, owner, scope, now)
        slot.state = CONNECTING
        self.slots[slot] = None
        self.connecting[slot] = None
        self._note_locked()
        return True

    def _is_full_locked(self, now: float) -> bool:
        """Whether there can be no further connection, by our limit or by the server's."""
        # Not by ``is_full``, which is only a hint: a thread may be interrupted before it is noted.
        is_full = len(self.slots) >= self.max_size
        return is_full or (bool(self.slots) and self.growth.is_refused(now))

    def opened_locked(self, lease: Lease[C], slot: Slot[C], started: float, now: float) -> None:
        """A connection was opened for ``lease``, which has it now unless the pool was closed."""
        self.counters.opened += 1
        self.counters.connect_seconds += now - started
        self.connecting.pop(slot, None)
        if self.status is PoolStatus.CLOSED:
            self.retire_locked(lease, CloseReason.POOL_CLOSED, now)
            return
        if slot.generation != self.generation or len(self.slots) > self.max_size:
            self._doom_locked([slot])  # That was decided meanwhile.
        self.growth.connect_time = now - started
        slot.idle_since = slot.leased_at = now
        slot.state = LEASED
        self.serve_locked(now)  # One connect fewer is under way: the next may begin.

    def failed_locked(self, lease: Lease[C], started: float, is_refused: bool, now: float) -> bool:
        """A connect failed; whether to wait for others, because the server is full."""
        self.counters.checkouts -= 1
        self.counters.connect_failures += 1
        self.counters.connect_seconds += now - started
        if is_refused:
            self.growth.refuse(now)
        may_wait = is_refused and len(self.slots) > 1  # Those being opened count, too.
        self.remove_locked(lease, None, now)
        return may_wait

    def _assign_locked(
        self, slot: Slot[C], lease: Lease[C], owner: Owner, scope: Scope | None, now: float
    ) -> None:
        """Make the slot the lease's. A second time does no harm."""
        lease.slot = slot
        slot.lease = ref(lease, slot.on_lease_collected)  # From here on it is the lease's.
        slot.state = LEASED
        slot.leased_at = now
        previous = slot.owner
        if previous is None:
            self.cold.pop(slot, None)
        else:
            previous.held.pop(slot, None)
        if slot.is_entered:
            self.warm.pop(slot, None)
            self._leave_locked(slot)
        slot.owner = owner
        owner.held[slot] = None
        slot.scope = scope
        if scope is None:
            slot.leased_in = RUNNING
        else:
            slot.leased_in = scope.state
            scope.takes[self.home] += 1
        self.counters.checkouts += 1

    def _enter_locked(self, slot: Slot[C]) -> bool:
        """Have a slot that comes to rest given back with its unit of work; false if that is over.

        Not before, because most slots under contention never rest.
        """
        scope = slot.scope
        if not slot.is_entered:
            if scope is not None:
                scope.slots[slot] = self.home
            slot.is_entered = True
        # Looked at after that: see ``Scope.end()``.
        is_running = slot.leased_in is RUNNING and not slot.has_outlived_its_unit()
        slot.stays_warm = is_running and self.is_open and slot.owner is not None
        return slot.stays_warm

    @staticmethod
    def _leave_locked(slot: Slot[C]) -> None:
        """Its unit of work is not to give it back any more."""
        scope, slot.scope = slot.scope, None
        if scope is not None:
            scope.slots.pop(slot, None)
        slot.stays_warm = slot.is_entered = False

    # Taking back

    def release_locked(
        self, lease: Lease[C], warm: Slot[C] | None, now: float
    ) -> Waiter | Decision[C] | None:
        """Take a clean slot back: retire it, hand it over, or put it back, warm if it is given.

        Returns what the caller is to do next: nothing, ring for the waiter that it went to
        straight from hand to hand, or carry out a decision. Only the caller may do that: until
        the connection is closed, the lease is its caller's.
        """
        slot = lease.slot
        if slot is None:
            return None  # Its owner died while another thread was releasing for it.
        self.counters.hold_seconds += now - slot.leased_at
        if now >= slot.expires_at:
            self.retire_locked(lease, self.reason_to_retire_locked(slot, now), now)
            return self.take_decision_locked()
        slot.idle_since = now
        waiter: Waiter | None = self.lost.first
        if waiter is not None and self.hands_over and waiter.lease.slot is None:
            if not self.is_full:
                self.growth.note_return(now)
            self._assign_locked(slot, waiter.lease, waiter.owner, waiter.scope, now)
            lease.slot = None
            self._dismiss_locked(waiter, now)
            if self.decision is None and not self.lost.queue:
                return waiter
            self._decide_locked().wake.append(waiter)
            if self.lost.queue:
                self.serve_locked(now)
            return self.take_decision_locked()
        if warm is not None and (slot.stays_warm or self._enter_locked(slot)):
            self.warm[slot] = None
        else:
            self._make_cold_locked(slot)
        slot.state = IDLE
        slot.lease = lease.slot = None
        if waiter is not None:
            self.serve_locked(now)
            return self.take_decision_locked()
        return None

    def _make_cold_locked(self, slot: Slot[C]) -> None:
        """Take its owner from it. If it is IDLE, it stays so throughout."""
        owner, scope = slot.owner, slot.scope
        self.cold[slot] = None
        slot.stays_warm = slot.is_entered = False
        slot.owner = slot.scope = None
        if owner is not None:
            self.warm.pop(slot, None)
            owner.held.pop(slot, None)
        if scope is not None:
            scope.slots.pop(slot, None)

    def put_back_locked(self, lease: Lease[C], slot: Slot[C], now: float) -> None:
        """End the pool's own work on a slot, which becomes what it was before, or cold.

        It may have been condemned while it was looked after.
        """
        slot.leased_at, idle_since = now, slot.idle_since
        following = self.release_locked(lease, slot, now)
        if isinstance(following, Waiter):
            self._decide_locked().wake.append(following)
        elif following is not None:
            self.decision = following
        if slot.lease is None or slot.lease() is not lease:
            slot.idle_since = idle_since

    def cool_locked(self, slot: Slot[C], owner: Owner) -> bool:
        """Make cold what is warm for the owner; whether it was."""
        state = slot.state
        if slot.owner is owner and (state is IDLE or state is MAINTENANCE):
            self._make_cold_locked(slot)
            return state is IDLE
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

    def reason_to_close_locked(self, slot: Slot[C], now: float) -> CloseReason | None:
        """Why a connection that lies idle should be closed."""
        reason = self.reason_to_retire_locked(slot, now)
        is_stale = 0 < self.limits.max_idle <= now - slot.idle_since
        if reason is None and is_stale and len(self.slots) > self.limits.min_size:
            return CloseReason.IDLE
        return reason

    def retire_locked(self, lease: Lease[C], reason: CloseReason | None, now: float) -> None:  # noqa: ARG002
        """Have the connection of a lease closed, unless the lease was taken back meanwhile."""
        slot = lease.slot
        if slot is not None and lease.is_held():
            slot.state = MAINTENANCE
            self._decide_locked().close[lease] = reason or CloseReason.RECYCLED

    def discard_locked(self, lease: Lease[C], now: float) -> None:
        """As ``retire_locked()``, at the end of its use."""
        slot = lease.slot
        if slot is not None:
            self.counters.hold_seconds += now - slot.leased_at
            self.retire_locked(lease, CloseReason.DISCARDED, now)

    def remove_locked(self, lease: Lease[C], reason: CloseReason | None, now: float) -> None:
        """Forget a slot, whose connection (if it ever had one) is closed for ``reason``."""
        slot = lease.held_slot()
        self._forget_locked(slot)
        if reason is not None:
            self.counters.closed[reason.value] += 1
        lease.slot = None
        self.serve_locked(now)

    def _forget_locked(self, slot: Slot[C]) -> None:
        self.slots.pop(slot, None)
        self.connecting.pop(slot, None)
        self._note_locked()
        slot.state = CLOSED
        slot.lease = None
        self._make_cold_locked(slot)
        del self.cold[slot]
        wake = self._decide_locked().wake
        wake += self.drainers
        if self.lost.first is not None:
            wake.append(self.lost.first)  # It may connect now.

    # A lease that is at rest, and its unit of work

    def keep_locked(self, lease: Lease[C], scope: Scope | None, now: float) -> bool:
        """Keep the lease while it is not used, for a unit of work; false if its own has ended."""
        slot = lease.slot
        if slot is None or not self.is_open or slot.has_outlived_its_unit():
            return False
        if slot.scope is not scope:
            self._leave_locked(slot)
            slot.scope = scope
            slot.leased_in = RUNNING if scope is None else scope.state
        self._enter_locked(slot)
        if slot.has_outlived_its_unit():
            return False  # It ended before the entry.
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
        self, slot: Slot[C], scope: Scope, now: float
    ) -> tuple[bool, Lease[C] | None]:
        """The unit of work of a slot is over: whether the slot went.

        If it was kept, it is leased to the calling thread, which must release that.
        """
        if slot.scope is not scope:
            return False, None
        if slot.state is IDLE:
            self._make_cold_locked(slot)
            if self.waiters:
                self.serve_locked(now)
            return True, None
        if slot.state is KEPT:
            self._end_lease_locked(slot)
            lease: Lease[C] = Lease(self.home)
            self._assign_locked(slot, lease, here.owner, None, now)
            self.counters.checkouts -= 1
            return True, lease
        slot.stays_warm = False
        return False, None

    @staticmethod
    def _end_lease_locked(slot: Slot[C]) -> None:
        """The slot is taken back from a lease that may be alive."""
        lease = None if slot.lease is None else slot.lease()
        if lease is not None:
            lease.slot = None

    def kill_locked(
        self, number: int, since: float, scope: Scope | None, cause: Cause | None, now: float
    ) -> Lease[C] | None:
        """Take a slot from the lease that it has had ``since`` then; ``None`` if it has not.

        Or if that is not of ``scope``. Returns a lease for the pool's own work on it.
        """
        for slot in self.slots:
            is_meant = slot.number == number and slot.leased_at == since
            is_meant = is_meant and (scope is None or slot.scope is scope)
            if is_meant and (slot.state is LEASED or slot.state is KEPT):
                victim = None if slot.lease is None else slot.lease()
                self.counters.hold_seconds += now - slot.leased_at
                own: Lease[C] = Lease(self.home)
                own.slot = slot
                slot.lease = ref(own, slot.on_lease_collected)
                slot.state = MAINTENANCE
                self._doom_locked([slot])  # If this is interrupted, no other owner gets it.
                if victim is not None:
                    self.killed[victim] = cause  # First: from then on its owner asks for it.
                    victim.slot = None
                if slot.owner is not None:
                    slot.owner.held.pop(slot, None)
                    slot.owner = None
                self._leave_locked(slot)
                return own
        return None

    def share_locked(self, lease: Lease[C], owner: Owner | None) -> None:
        """Be of no owner, because others use the connection too; or be ``owner``'s again."""
        slot = lease.held_slot()
        before, scope = slot.owner, slot.scope
        self._leave_locked(slot)
        slot.owner, slot.scope = owner, scope
        if before is not None:
            before.held.pop(slot, None)
        if owner is not None:
            owner.held[slot] = None

    # The queue

    def enqueue_again_locked(self, waiter: Waiter, now: float) -> None:
        """Put a waiter in front: it had its turn already, and what it got was no good."""
        self.waiters[waiter] = None
        self.waiters.move_to_end(waiter, last=False)
        self.serve_locked(now)
        self.counters.waits += not waiter.is_out

    def _refuse_locked(self, waiter: Waiter, now: float) -> bool:
        """Whether there are too many waiters, also if those that might connect do; or it closed."""
        errors, name = self.home.errors, self.home.name
        if self.status is PoolStatus.CLOSED:
            waiter.error = errors.closed(
                f"Pool {name!r} is closed; the next query on connections[{name!r}] makes a new "
                "one, so do not keep pools."
            )
        else:
            self.growth.hurry(now)
            self.serve_locked(now)
            waiting = len(self.waiters)
            if waiting < self.most_waiting:
                return False
            self.counters.rejected += 1
            waiter.error = errors.too_many(
                f"Pool {name!r} has {waiting} callers waiting already, which is max_waiting; try "
                "again later, or raise max_size or max_waiting."
            )
        waiter.is_out = True
        return True

    def serve_locked(self, now: float) -> None:
        """One pass: give the longest waiters what there is.

        Called after anything that may have freed capacity or let the pool grow.
        """
        while True:
            self.lost.first = next(iter(self.waiters), None)
            self._take_in_locked(now)
            while self.waiters and self._serve_first_locked(next(iter(self.waiters)), now):
                pass
            if not self.lost.queue:
                return

    def _serve_first_locked(self, waiter: Waiter, now: float) -> bool:
        if self.status is PoolStatus.CLOSED:
            waiter.error = self.home.errors.closed(f"Pool {self.home.name!r} was closed.")
        elif not self.is_open or (
            not self._complete_locked(waiter, now) and not self._promise_locked(waiter, now)
        ):
            return False
        self._dismiss_locked(waiter, now)
        self._decide_locked().wake.append(waiter)
        return True

    def _complete_locked(self, waiter: Waiter, now: float) -> bool:
        """Complete what the thread that promised it was interrupted in; whether it was promised."""
        lease, slot = waiter.lease, waiter.lease.slot
        if slot is None:
            return False
        if slot in self.slots and lease.is_held():
            self._assign_locked(slot, lease, waiter.owner, waiter.scope, now)
            if slot.connection is None:
                slot.state = CONNECTING
            return True
        lease.slot = None  # Not marked yet, or not counted yet.
        return False

    def _dismiss_locked(self, waiter: Waiter, now: float) -> None:
        """The first waiter has what it came for; the next may have to wait to connect."""
        # Before it is taken out: interrupted in between, it is dismissed once more.
        waiter.is_out = True
        waiters = self.waiters
        waiters.pop(waiter, None)
        self.counters.wait_seconds += now - waiter.lined_up_at
        first = self.lost.first = next(iter(waiters), None)
        if first is not None and not self.is_full:
            self._decide_locked().wake.append(first)
        # Last, because the finaliser of a lease that no thread waits for rings the first one's
        # bell. From here on only the thread that waited keeps the lease alive.
        waiter.lease = None

    def withdraw_locked(self, waiter: Waiter, now: float) -> None:
        """A waiter leaves, whose bell may have been rung for what is there still."""
        if not waiter.is_out:
            self._complete_locked(waiter, now)
            self._dismiss_locked(waiter, now)
        self.serve_locked(now)

    def look_again_locked(self, waiter: Waiter, now: float) -> None:
        """A waiter woke up by itself, or was rung for: make a pass, if it is the first.

        The first may be a thread's that was interrupted, and that never looks: now and then any
        waiter looks at everything.
        """
        if now - self._swept_at >= LOOK_AGAIN:
            self.sweep_locked(now)
        elif self.lost.first is waiter or self.lost.queue:
            self.serve_locked(now)

    def pause_of(self, waiter: Waiter, now: float) -> float:
        """Seconds after which a waiter looks for itself, although its bell did not ring.

        Only the first may have to wait for its turn to connect. Called without the lock: if
        what it sees changes, the thread that changes it rings the first waiter's bell.
        """
        if self.lost.first is waiter and not self.is_full:
            return self.growth.pause(now) or LOOK_AGAIN
        return LOOK_AGAIN

    # Lost and found

    def _take_in_locked(self, now: float) -> None:
        """Take back the slots whose leases, owners or units of work ended without a word."""
        queue = self.lost.queue
        while queue:
            slot, witness, was_forgotten = queue[0]
            if witness is slot.lease or witness is slot.owner or witness is slot.scope:
                self._take_back_locked(slot, witness, was_forgotten, now)
            queue.popleft()  # Not before: this may be interrupted.

    def _take_back_locked(
        self, slot: Slot[C], witness: object, was_forgotten: bool, now: float
    ) -> None:
        state = slot.state
        is_in_use = state is not IDLE and state is not KEPT
        if state is IDLE or (state is MAINTENANCE and witness is not slot.lease):
            self._make_cold_locked(slot)
            return
        if witness is slot.scope and is_in_use:
            slot.stays_warm = False
            return
        if state is LEASED or state is KEPT:
            self.counters.hold_seconds += now - slot.leased_at
            if was_forgotten and witness is not slot.scope:
                self.counters.reaped += 1
                name = "shared by several" if slot.owner is None else slot.owner.name
                self._decide_locked().reaped.append(name)
        self._end_lease_locked(slot)
        if slot.connection is None:
            self._forget_locked(slot)
            return
        slot.watch = look_into  # The next who gets it cleans it.
        self.connecting.pop(slot, None)
        slot.idle_since = now
        self._make_cold_locked(slot)
        slot.state = IDLE
        slot.lease = None
        if self.waiters:
            self.growth.note_return(now)

    def sweep_locked(self, now: float) -> None:
        """Find what finalisers should have reported, but were themselves interrupted."""
        self._swept_at = now
        for slot in self.slots:
            if slot.state is not CONNECTING:
                self.connecting.pop(slot, None)  # It was interrupted when it was opened.
            witness = slot.find_witness()
            if witness is not None:
                self.lost.queue.append((slot, witness, True))
        self.serve_locked(now)

    def leaks_locked(
        self, now: float
    ) -> list[tuple[Slot[C], float, Owner | None, StackSummary, float]]:
        """Slot, beginning, owner, stack and age of leases held for ``leak_threshold``.

        Of each lease only once.
        """
        leaks = []
        for slot in self.slots:
            stack, held = slot.stack, now - slot.leased_at
            is_held = slot.lease is not None and slot.state is not IDLE
            if is_held and stack is not None and held >= self.limits.leak_threshold:
                leaks.append((slot, slot.leased_at, slot.owner, stack, held))
                slot.stack = None
        return leaks

    def leased_locked(
        self,
        now: float,  # noqa: ARG002
    ) -> list[tuple[Slot[C], float, Owner | None, Scope | None]]:
        """Slot, beginning, owner and unit of work of each lease that is in use."""
        slots = [slot for slot in self.slots if slot.state is LEASED]
        return [(slot, slot.leased_at, slot.owner, slot.scope) for slot in slots]

    # Retiring

    def claim_locked(self, slot: Slot[C]) -> Lease[C]:
        """Take an idle slot for the pool's own work; it stays warm for its owner, if it is."""
        lease: Lease[C] = Lease(self.home)
        lease.slot = slot
        slot.lease = ref(lease, slot.on_lease_collected)
        slot.state = MAINTENANCE
        (self.cold if slot.owner is None else self.warm).pop(slot, None)
        return lease

    def idle_slots_locked(self) -> list[Slot[C]]:
        """Idle slots, longest idle first."""
        idle = (slot for slot in self.slots if slot.state is IDLE)
        return sorted(idle, key=lambda slot: slot.idle_since)

    def _close_idle_locked(self, reason: CloseReason, *, most: int | None = None) -> int:
        """Have idle connections closed, longest idle first; returns how many."""
        idle = self.idle_slots_locked()[:most]
        if idle:
            self._decide_locked().close.update((self.claim_locked(slot), reason) for slot in idle)
        return len(idle)

    def condemn_locked(self, now: float) -> int:  # noqa: ARG002
        """Begin a new generation. Idle connections of older ones are closed; returns how many."""
        self._doom_locked(list(self.slots))
        self.generation += 1
        return self._close_idle_locked(CloseReason.RECYCLED)

    def checked_locked(self, slot: Slot[C], is_alive: bool, now: float) -> int:
        """Whether the server answered: if not, condemns its generation; returns how many go."""
        self.counters.checks += 1
        if is_alive:
            slot.traffic_at = now
        elif slot.generation == self.generation:
            return self.condemn_locked(now)
        return 0

    @staticmethod
    def _doom_locked(slots: list[Slot[C]]) -> None:
        """Have them retired when they come back; ``reason_to_retire_locked()`` says why."""
        for slot in slots:
            slot.expires_at = float("-inf")

    def resize_locked(self, limits: Limits, now: float) -> None:
        """Change the limits; what is above them is closed now, or when it comes back."""
        self.set_limits_locked(limits)
        surplus = int(max(0, len(self.slots) - self.max_size))
        closing = self._close_idle_locked(CloseReason.SHRUNK, most=surplus)
        busy = [slot for slot in self.slots if slot.state is not MAINTENANCE]
        self._doom_locked(busy[: surplus - closing])
        self._change_locked(now)

    def set_status_locked(self, status: PoolStatus, now: float) -> None:
        """Suspend, resume or close the pool; one that is closed stays so."""
        if self.status is PoolStatus.CLOSED:
            return
        self.status = status
        self._note_locked()
        if status is PoolStatus.SUSPENDED:
            for slot in self.slots:
                slot.leased_in, slot.stays_warm = None, False
                if slot.state is IDLE:
                    self._make_cold_locked(slot)
            return
        if status is PoolStatus.CLOSED:
            self._doom_locked(list(self.slots))
        self._change_locked(now)
        if status is PoolStatus.CLOSED:  # After the pass, which takes in what was lost.
            self._close_idle_locked(CloseReason.POOL_CLOSED)

    def _change_locked(self, now: float) -> None:
        """A pass, after which the first waiter may have another time to wait than before."""
        self.serve_locked(now)
        if self.lost.first is not None:
            self._decide_locked().wake.append(self.lost.first)
