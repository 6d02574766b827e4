"""What the background thread does for one pool, each time that it comes by."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from .driver import C
from .leaks import describe_leak
from .ledger import PoolStatus
from .owner import current_owner
from .slot import CloseReason, Lease, Slot, SlotState
from .waiters import Waiter
from .workshop import Workshop

if TYPE_CHECKING:
    from .pool import ConnectionPool

logger = logging.getLogger("django_connmgr.pool")


class Upkeep(Workshop[C]):
    """Reaps, retires, keeps alive and refills, one connection at a time."""

    def maintain(self) -> None:
        """One pass of upkeep, one connection at a time: reap, tell, retire, keep alive, refill.

        The background thread calls it every ``reap_interval`` seconds; anybody may.
        """
        with self._lock:
            served = self._ledger.take_stock(self.now())
            idle = self._ledger.idle_slots()
        self._act(served)
        self._tell_of_leaks()
        for slot in idle:
            self._tend(slot)
        while self._refill():
            pass
        self._leave_if_closed()

    def _tell_of_leaks(self) -> None:
        """Log, once each, the leases that were held for longer than ``leak_threshold``."""
        threshold = self._ledger.limits.leak_threshold
        if not threshold:
            return
        leaks = []
        with self._lock:
            now = self.now()
            for slot in self._ledger.holders():
                if slot.stack is not None and slot.leased_at + threshold <= now:
                    leaks.append((slot.owner, slot.stack, now - slot.leased_at))
                    slot.stack = None
        for owner, stack, held in leaks:
            logger.warning(describe_leak(self.name, owner, stack, held))

    def _tend(self, slot: Slot[C]) -> None:
        """Do what one idle connection needs, if anything."""
        ledger = self._ledger
        with self._lock:
            now = self.now()
            if slot.state is not SlotState.IDLE:
                return  # Somebody leased it in the meantime.
            reason = self._reason_to_close_idle(slot, now)
            keepalive = ledger.limits.keepalive
            needs_traffic = 0 < keepalive <= now - slot.traffic_at
            if reason is None and not needs_traffic and not slot.is_dirty:
                return
            lease = ledger.claim(slot, now)
        connection = lease.connection
        if reason is None and slot.is_dirty:
            reason = self._clean(slot, connection)
        if (
            reason is None
            and needs_traffic
            and not self._check(slot, connection, ledger.limits.timeout)
        ):
            reason = CloseReason.CHECK_FAILED
        served: list[Waiter] = []
        with self._lock:
            now = self.now()
            # Once more: it was nobody's to condemn while it was being looked after.
            reason = reason or ledger.reason_to_retire(slot, now)
            if reason is None:
                ledger.put_back(slot, slot.idle_since)  # Upkeep does not count as use.
                lease.forget()
                served = ledger.serve(now)
        self._act(served)
        if reason is not None:
            self._retire([lease], reason)

    def _reason_to_close_idle(self, slot: Slot[C], now: float) -> CloseReason | None:
        ledger = self._ledger
        reason = ledger.reason_to_retire(slot, now)
        if reason is not None:
            return reason
        limits = ledger.limits
        is_stale = 0 < limits.max_idle <= now - slot.idle_since
        if is_stale and len(ledger.slots) > limits.min_size:
            return CloseReason.IDLE
        return None

    def _refill(self) -> bool:
        """Open one connection towards ``min_size``; false if there is nothing (more) to do."""
        ledger = self._ledger
        lease: Lease[C] = Lease(cast("ConnectionPool[C]", self))
        with self._lock:
            now = self.now()
            is_used = ledger.status is PoolStatus.OPEN and ledger.counters.opened > 0
            if not is_used or len(ledger.slots) >= ledger.limits.min_size:
                return False
            if not ledger.reserve(lease, current_owner(), now):
                return False
        try:
            if not self._open(lease, lease.slot, now + ledger.limits.timeout, self.driver.connect):
                return False
        except Exception as error:
            logger.warning("Pool %r: could not connect in the background: %s", self.name, error)
            return False
        with self._lock:
            ledger.counters.checkouts -= 1
        slot = lease.slot
        lease.release()
        return slot.state is not SlotState.CLOSED  # Or else this might go on for ever.
