"""The bounded pool of one process for one database server."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from sys import getrefcount

from ..exceptions import PoolTimeout
from .clock import Bell
from .driver import C
from .leaks import stack_here
from .ledger import PoolStatus
from .owner import AT_ONCE, Owner, current_owner
from .reaper import reaper
from .report import describe_exhaustion
from .slot import PARKED, CloseReason, Lease, Slot, SlotState
from .stats import PoolStats
from .upkeep import Upkeep
from .waiters import Waiter

logger = logging.getLogger("django_connmgr.pool")


def _count_alone() -> int:
    parked = {0: object()}
    alone = parked.pop(0, None)
    return getrefcount(alone)


#: What ``getrefcount`` says of an object that only one local variable refers to.
ALONE = _count_alone()

#: Seconds that waking another thread takes, or more. Who held a connection for less is done
#: with the next one too before the other has begun.
BRIEF = 0.0001


class ConnectionPool(Upkeep[C]):
    """Physical connections, at most ``max_size`` of them, lent out one lease at a time.

    A checkout takes, in this order: what its thread released last, an idle connection, one
    that another thread parked, a new one, one that its owner does not use, a dead owner's
    that nobody heard of, or it waits in line. A connection that comes back goes to the longest
    waiter; see ``Line.may_keep`` for the one exception. Whatever frees capacity serves the line: a
    return, a failed connect, a closed connection, a dead owner. Decisions are the ledger's,
    made under the lock; the workshop carries them out after the lock was let go of.

    It cannot deadlock: there is one lock, under which nothing blocks and no code of
    others runs, and a thread waits (for its own bell, never for longer than its
    deadline) only while it holds no lock. Finalisers append and ring, and never lock.
    """

    # Checking out

    def checkout(
        self, timeout: float | None = None, *, connect: Callable[[float], C] | None = None
    ) -> Lease[C]:
        """Lease a connection within ``timeout`` seconds (default: the pool's), all included.

        ``connect`` opens the physical connection if one has to be opened, in place of the
        driver's: its errors are raised at once and as they are. Otherwise raises
        ``PoolTimeout``, ``PoolClosed`` or ``TooManyRequests``.
        """
        owner = current_owner()
        parked = self._ledger.parked
        lease = parked.get(owner)
        if lease is None or self.retake(lease, timeout, connect=connect) is None:
            # If it was interrupted while it retook it, it must be collected to come back.
            parked.pop(owner, None)
            lease = None
            return self._checkout(Lease(self), owner, self.now(), timeout, connect)
        if getrefcount(lease) > ALONE:
            return lease.succeed()  # Somebody might take it for the one that was released.
        if lease.is_known:
            lease.renew()
        return lease

    def retake(
        self,
        lease: Lease[C],
        timeout: float | None = None,
        *,
        connect: Callable[[float], C] | None = None,
    ) -> C | None:
        """As ``checkout()``, with a lease that this thread released: its connection.

        ``None`` if it is not parked any more. It is the same lease again: for another unit of
        work, ``renew()`` it.
        """
        # Written out, as in ``_park``, because calls cost more than all that is in them.
        slot = lease._parked
        owner = None if slot is None else slot.owner
        if slot is None or owner is None or not lease.claim.token.pop(PARKED, False):
            return None
        lease._slot = slot
        lease._parked = None
        now = self.now()
        slot.leased_at = slot.used_at = now
        slot.retaken += 1
        # As ``Owner.note_return()``.
        owner.returns = owner.returns + 1 if now - owner.left_at < AT_ONCE else 0
        owner.held[slot] = lease.id
        ledger, connection = self._ledger, slot.connection
        ledger.parked.pop(owner, None)
        if (
            connection is not None
            and now - slot.traffic_at <= ledger.limits.check_after
            and not ledger.limits.leak_threshold
            and self.driver.is_quiet(connection)
        ):
            return connection
        self._checkout(lease, owner, now, timeout, connect)
        return lease.connection

    def _checkout(
        self,
        lease: Lease[C],
        owner: Owner,
        now: float,
        timeout: float | None,
        connect: Callable[[float], C] | None,
    ) -> Lease[C]:
        """The long way, for a lease that has no slot, or one with a doubtful connection."""
        limits = self._ledger.limits
        deadline = now + (limits.timeout if timeout is None else timeout)
        is_warm = False
        try:
            if lease._slot is None:
                owner.note_return(now)
                is_warm = self._obtain(lease, owner, now, now, deadline, is_first=False)
            while not self._make_ready(
                lease, deadline, connect or self.driver.connect, is_warm=is_warm
            ):
                again = self.now()
                if again >= deadline:
                    # A frozen server took all the time there was.
                    raise self._timed_out(again - now)
                # It had its turn, and what it got was no good: it goes first now.
                is_warm = self._obtain(lease, owner, now, again, deadline, is_first=True)
            if limits.leak_threshold:
                lease.slot.stack = stack_here()
            return lease
        except BaseException:
            # Timeouts included. A second exception in here is the finaliser's business.
            if lease.is_held():
                self.check_in(lease)
            raise

    def _make_ready(
        self, lease: Lease[C], deadline: float, connect: Callable[[float], C], *, is_warm: bool
    ) -> bool:
        """See that the slot has a working connection; false if the slot had to be given up."""
        slot = lease.slot
        connection = slot.connection
        if connection is None:
            return self._open(lease, slot, deadline, connect)
        if self._is_fit(lease, slot, connection, deadline, is_warm=is_warm):
            return True
        with self._lock:
            self._ledger.counters.checkouts -= 1
        return False

    def _obtain(
        self,
        lease: Lease[C],
        owner: Owner,
        since: float,
        now: float,
        deadline: float,
        *,
        is_first: bool,
    ) -> bool:
        """Have ``lease`` promised a slot, at once or after standing in line for one.

        True if the connection comes from the hands of another, who has just used it.
        """
        ledger = self._ledger
        waiter = Waiter(lease, owner, since, now, deadline)
        try:
            with self._lock:
                served = ledger.admit(waiter, now, is_first=is_first)
            if served or ledger.obituaries:
                self._act(served)
            if not waiter.is_out:
                self._wait(waiter, now, deadline)
        finally:
            if not waiter.is_out:
                self._withdraw(waiter)
            if ledger.orphans:
                self._look_again()  # It may have been rung for them, and they are another's now.
        if waiter.error is not None:
            raise waiter.error
        if not waiter.is_out and not lease.is_held():
            raise self._timed_out(self.now() - now)
        return waiter.is_warm

    def _wait(self, waiter: Waiter, looked: float, deadline: float) -> None:
        """Return when it is served, refused, or out of time."""
        ledger = self._ledger
        while not waiter.is_out:
            # From the last look on, or a moment that passed since would be forgotten.
            until = looked + ledger.next_look(waiter, looked)
            until = min(until, deadline)
            now = self.now()
            if now < until:
                self._clock.wait(waiter.bell, until - now)
            elif now >= deadline:
                return
            looked = self._look_again() if ledger.should_look(waiter) else now

    def _withdraw(self, waiter: Waiter) -> None:
        """Leave the line without having been served, and see to the next one.

        What this one was rung for may be lying there still.
        """
        ledger = self._ledger
        with self._lock:
            now = self.now()
            if not waiter.is_out:  # Or it was being served just now.
                ledger.withdraw(waiter)
                ledger.counters.wait_seconds += now - waiter.lined_up_at
            served = ledger.serve(now)
        self._act(served)

    def _timed_out(self, waited: float) -> PoolTimeout:
        with self._lock:
            self._ledger.counters.timeouts += 1
            served = self._ledger.take_stock(self.now())
            stats = self._ledger.snapshot(self.name)
            holders = [
                (slot.owner, slot.leased_at, slot.used_at) for slot in self._ledger.holders()
            ]
        self._act(served)
        error = PoolTimeout(describe_exhaustion(stats, holders, self.now(), waited))
        error.__cause__ = self._connect_error
        return error

    # Giving back

    def check_in(self, lease: Lease[C], *, may_stay: bool | None = None) -> bool:
        """As ``Lease.release()``, and does nothing if the lease is not held any more.

        True if it was parked, and so may be retaken.

        If it ``may_stay``, this thread may have it again before those who wait have it; see
        ``Line.may_keep``. By default it may if it was held for less than ``BRIEF``.
        """
        slot = lease._slot
        if slot is None or slot.lease_id != lease.id:
            return False
        connection = slot.connection
        if connection is None:  # Interrupted while connecting.
            self._give_up(lease, slot)
            return False
        owner = slot.owner  # Before code of others runs: see ``_park``.
        reason = None
        if not self.driver.is_clean(connection):
            slot.is_dirty = True
            reason = self._clean(slot, connection)
        if (
            reason is None
            and owner is not None
            and (may_stay is not False or not self.waiters)
            and self._park(lease, slot, owner, may_stay=may_stay)
        ):
            return True
        ledger = self._ledger
        with self._lock:
            if slot.lease_id != lease.id:
                return False  # Its owner died while another thread was releasing for it.
            now = self.now()
            reason = reason or ledger.reason_to_retire(slot, now)
            ledger.counters.hold_seconds += now - slot.leased_at
            if owner is not None:
                owner.left_at = now
                if reason is None and owner in ledger.parked:
                    ledger.unpark(owner)  # It was returned before this one.
            if reason is None:
                slot.traffic_at = now
                served = ledger.hand_over(slot, now)
                lease.forget()
            else:
                slot.state = SlotState.MAINTENANCE
        if reason is None:
            self._act(served)
        else:
            self._retire([lease], reason)
        return False

    def _park(self, lease: Lease[C], slot: Slot[C], owner: Owner, *, may_stay: bool | None) -> bool:
        """Give a clean connection back without the lock; false if somebody has to hear of it.

        Only on its owner's thread, because any other's may end meanwhile, and the slot be
        somebody else's. The token is put down after everything else: from there on the slot
        may be another's. Whoever is interrupted on the way drops the lease, and its finaliser
        reports it. For what others decide meanwhile see ``Shelf.gather``.
        """
        ledger = self._ledger
        if (
            ledger.orphans
            or ledger.epoch != lease.epoch
            or owner in ledger.parked
            or owner.ident != threading.get_ident()
            or owner.is_dead
        ):
            return False
        now = self.now()
        if may_stay is None:
            may_stay = now - slot.leased_at < BRIEF
        if now >= slot.expires_at:
            return False
        if ledger.waiters and not (may_stay and ledger.may_keep(owner, now)):
            return False
        owner.held.pop(slot, None)
        owner.left_at = now
        slot.held_seconds += now - slot.leased_at
        slot.leased_at = slot.idle_since = slot.traffic_at = now
        lease._parked = slot
        lease._slot = None
        claim = lease.claim
        claim.place = PARKED
        claim.token[PARKED] = True
        ledger.parked[owner] = lease
        is_condemned = ledger.epoch != lease.epoch
        # What time it is by now, because this thread may have slept meanwhile.
        if not is_condemned and (
            not ledger.waiters or (may_stay and ledger.may_keep(owner, self.now()))
        ):
            return True
        ledger.parked.pop(owner, None)
        if claim.unpark():
            lease._slot = slot
            lease._parked = None
            owner.held[slot] = lease.id
            return False
        if is_condemned:
            self._retire_condemned()  # Whoever came made it idle, and may not have looked at it.
        return True

    def discard(self, lease: Lease[C]) -> None:
        """Close a leased connection, whatever its state; as ``Lease.discard()``."""
        slot = lease.slot
        if slot.connection is None:
            self._give_up(lease, slot)
            return
        with self._lock:
            if not lease.is_held():
                return  # See ``check_in``.
            self._ledger.counters.hold_seconds += self.now() - slot.leased_at
            slot.state = SlotState.MAINTENANCE
        self._retire([lease], CloseReason.DISCARDED)

    # Steering

    def recycle(self) -> None:
        """Condemn every connection: idle ones are closed now, leased ones when they come back."""
        with self._lock:
            condemned = self._ledger.condemn(self.now())
        self._retire(condemned, CloseReason.RECYCLED)

    def drain(self, timeout: float = 30.0) -> bool:
        """``recycle()``, then wait until every older connection is closed.

        New checkouts go on, on new connections. False if some were still out after
        ``timeout`` seconds; they are closed when they come back all the same.
        """
        deadline = self.now() + timeout
        bell = Bell()
        with self._lock:
            self._ledger.drainers.append(bell)
        try:
            self.recycle()
            while True:
                with self._lock:
                    generation = self._ledger.generation
                    is_drained = all(s.generation == generation for s in self._ledger.slots)
                now = self.now()
                if is_drained or now >= deadline:
                    return is_drained
                self._clock.wait(bell, deadline - now)
        finally:
            with self._lock:
                self._ledger.drainers.remove(bell)

    def suspend(self) -> None:
        """Hand nothing out until ``resume()``: checkouts wait, within their deadlines."""
        with self._lock:
            if self._ledger.status is PoolStatus.OPEN:
                self._ledger.begin_epoch()
                self._ledger.status = PoolStatus.SUSPENDED

    def resume(self) -> None:
        """Undo ``suspend()``."""
        with self._lock:
            if self._ledger.status is PoolStatus.SUSPENDED:
                self._ledger.status = PoolStatus.OPEN
            served = self._ledger.serve(self.now())
        self._act(served)

    def resize(self, max_size: int | None, *, min_size: int | None = None) -> None:
        """Change the bounds. Surplus connections are closed when idle, now or later."""
        with self._lock:
            now = self.now()
            ledger = self._ledger
            ledger.begin_epoch()
            ledger.limits = dataclasses.replace(
                ledger.limits,
                max_size=max_size,
                min_size=ledger.limits.min_size if min_size is None else min_size,
            )
            surplus = ledger.claim_idle(now, most=ledger.surplus())
            served = ledger.serve(now)
        self._act(served)
        self._retire(surplus, CloseReason.SHRUNK)

    def close(self, *, linger: bool = True) -> None:
        """Refuse from now on: waiters fail, idle connections close, leased ones on return.

        Without ``linger`` no close waits for the server to let go of the connection.
        """
        self._lingers = linger
        with self._lock:
            now = self.now()
            self._ledger.begin_epoch()
            self._ledger.status = PoolStatus.CLOSED
            served = self._ledger.serve(now)
            idle = self._ledger.claim_idle(now)
        self._act(served)
        self._retire(idle, CloseReason.POOL_CLOSED)
        self._leave_if_closed()

    def after_fork(self) -> None:
        """In a child process: start empty, and let nothing of the parent's be touched."""
        inherited = list(self._ledger.slots)
        self._start(self._ledger.limits)
        for slot in inherited:
            slot.lease_id = 0  # Leases taken before the fork are lost in the child.
            slot.claim.unpark()
            if slot.owner is not None:
                slot.owner.held.pop(slot, None)
            if slot.connection is not None:
                self.driver.abandon(slot.connection)

    # For wrappers

    def report_orphan(self, slot: Slot[C], lease_id: int) -> None:
        """A lease ended without a release. For finalisers: takes no lock and does no I/O."""
        if not self._ledger.report(slot, lease_id):
            reaper.nudge()

    def is_short(self) -> bool:
        """Whether somebody waits for what this thread's lease does not use any more, from now
        on. Takes no lock.
        """
        owner, now = current_owner(), self.now()
        owner.left_at = now
        return self._ledger.is_short(owner, now)

    def take_over(self, lease: Lease[C]) -> Lease[C] | None:
        """For whoever has the token of another thread's lease: a lease of its own on the slot."""
        with self._lock:
            return self._ledger.take_over(lease)

    def nudge(self) -> None:
        """Let the first in line look whether there is something for it. Safe in finalisers."""
        self._ledger.nudge()

    def count_dedicated(self, change: int) -> None:
        """A connection outside the pool was opened (+1) or closed (-1) on its behalf."""
        with self._lock:
            self._ledger.counters.dedicated += change

    def count_session_hold(self) -> None:
        """A lease is held because of what it left in the session of the server."""
        with self._lock:
            self._ledger.counters.session_holds += 1

    # Looking

    def stats(self) -> PoolStats:
        """The pool's numbers at one moment; see ``PoolStats``."""
        with self._lock:
            served = self._ledger.take_stock(self.now())
            stats = self._ledger.snapshot(self.name)
        self._act(served)
        return stats

    def __repr__(self) -> str:
        s = self.stats()
        return (
            f"<ConnectionPool {s.name!r} {s.status}: size={s.size}/{s.max_size} "
            f"connecting={s.connecting} idle={s.idle} leased={s.leased} "
            f"maintenance={s.maintenance} waiting={s.waiting}>"
        )
