"""Lending connections: how a lease comes by a slot, and how it gives it back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from sys import getrefcount
from typing import TYPE_CHECKING, cast

from ..exceptions import PoolTimeout
from .driver import C
from .leaks import stack_here
from .owner import AT_ONCE, Owner, current_owner
from .report import describe_exhaustion
from .slot import PARKED, CloseReason, Lease, Slot, SlotState
from .waiters import Waiter
from .workshop import Workshop

if TYPE_CHECKING:
    from .pool import ConnectionPool


def _count_alone() -> int:
    parked = {0: object()}
    alone = parked.pop(0, None)
    return getrefcount(alone)


#: What ``getrefcount`` says of an object that only one local variable refers to.
ALONE = _count_alone()

#: Seconds that waking another thread takes, or more. Who held a connection for less is done
#: with the next one too before the other has begun.
BRIEF = 0.0001


class Lender(Workshop[C]):
    """The part of a pool that lends its connections, one lease at a time.

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
        if lease is None or self._retake(lease, timeout, connect) is None:
            # If it was interrupted while it retook it, it must be collected to come back.
            parked.pop(owner, None)
            lease = Lease(cast("ConnectionPool[C]", self))
            self._checkout(lease, owner, self.now(), timeout, connect)
            return lease
        if getrefcount(lease) > ALONE:
            return lease.succeed()  # Somebody might take it for the one that was released.
        if lease.is_known:
            lease.renew()
        return lease

    def lease_again(
        self,
        lease: Lease[C],
        timeout: float | None = None,
        connect: Callable[[float], C] | None = None,
    ) -> C | None:
        """As ``checkout()``, with a lease that this thread had and nobody else knows.

        Returns the connection; ``None`` if it cannot be that lease again, because it may not be
        over, or because the pool has decided something since. To a unit of work that knew it
        it is the same: for another one, ``renew()`` it.
        """
        if lease._parked is not None:
            connection = self._retake(lease, timeout, connect)
            if connection is not None:
                return connection
        if lease.epoch != self._ledger.epoch or not lease.begin_again():
            return None
        return self._checkout(lease, current_owner(), self.now(), timeout, connect)

    def _retake(
        self, lease: Lease[C], timeout: float | None, connect: Callable[[float], C] | None
    ) -> C | None:
        """The connection of a lease that is still parked."""
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
        limits = ledger.limits
        if (
            connection is not None
            and now - slot.traffic_at <= limits.check_after
            and not limits.leak_threshold
            and self.driver.is_quiet(connection)
        ):
            return connection
        return self._checkout(lease, owner, now, timeout, connect)

    def _checkout(
        self,
        lease: Lease[C],
        owner: Owner,
        now: float,
        timeout: float | None,
        connect: Callable[[float], C] | None,
    ) -> C:
        """The long way, for a lease that has no slot, or one with a doubtful connection."""
        limits = self._ledger.limits
        deadline = now + (limits.timeout if timeout is None else timeout)
        is_ready = False
        try:
            if lease._slot is None:
                owner.note_return(now)
                is_ready = self._obtain(lease, owner, now, now, deadline, is_first=False)
            while not (
                is_ready or self._make_ready(lease, deadline, connect or self.driver.connect)
            ):
                again = self.now()
                if again >= deadline:
                    # A frozen server took all the time there was.
                    raise self._timed_out(again - now)
                # It had its turn, and what it got was no good: it goes first now.
                is_ready = self._obtain(lease, owner, now, again, deadline, is_first=True)
            if limits.leak_threshold:
                lease.slot.stack = stack_here()
            return lease.connection
        except BaseException:
            # Timeouts included. A second exception in here is the finaliser's business.
            if lease.is_held():
                self.check_in(lease)
            raise

    def _make_ready(self, lease: Lease[C], deadline: float, connect: Callable[[float], C]) -> bool:
        """See that the slot has a working connection; false if the slot had to be given up."""
        slot = lease.slot
        connection = slot.connection
        if connection is None:
            return self._open(lease, slot, deadline, connect)
        if self._is_fit(lease, slot, connection, deadline):
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

        True if nothing needs to be done to its connection, which another has just used.
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
        slot = lease._slot
        if slot is None or slot.lease_id != lease.id:
            if not waiter.is_out:
                raise self._timed_out(self.now() - now)
            return False
        return waiter.is_warm and not slot.is_dirty and not self.driver.asks_always

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

    def check_in(self, lease: Lease[C], *, may_stay: bool | None = None) -> bool | None:
        """As ``Lease.release()``; ``None`` if the lease is not held any more.

        True if it was parked, and so may be retaken.

        If it ``may_stay``, this thread may have it again before those who wait have it; see
        ``Line.may_keep``. By default it may if it was held for less than ``BRIEF``.
        """
        slot = lease._slot
        if slot is None or slot.lease_id != lease.id:
            return None
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
            reason = reason or ledger.reason_to_retire(slot, now, since=lease.epoch)
            ledger.counters.hold_seconds += now - slot.leased_at
            if owner is not None:
                owner.left_at = now
            if reason is not None:
                slot.state = SlotState.MAINTENANCE
            else:
                if ledger.parked and owner in ledger.parked:
                    ledger.unpark(owner)  # It was returned before this one.
                slot.traffic_at = now
                served = ledger.hand_over(slot, now)
                lease._slot = None
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
