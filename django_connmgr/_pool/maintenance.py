"""What is done for one pool in the background: reap, retire, check, keep alive, refill."""

from typing import Generic

from .core import Core
from .driver import C
from .lease import Lease
from .logs import logger
from .long_leases import LongLeases
from .owner import here
from .slot import CLOSED, IDLE, CloseReason, Slot
from .state import PoolStatus


class Maintenance(Generic[C]):
    """One pass after the other, one connection at a time, so that each is away for a moment."""

    def __init__(self, core: Core[C]) -> None:
        self._core = core
        self._long_leases = LongLeases(core)

    def reap(self) -> None:
        """Take back what was lost, and clean it: its transaction may hold locks."""
        self._core.run(self._core.state.sweep_locked)
        for slot in self._idle_slots():
            if slot.is_dirty:
                self._tend(slot)

    def run(self) -> None:
        """One pass."""
        self.reap()
        self._long_leases.look()
        for slot in self._idle_slots():
            self._tend(slot)
        while self._refill():
            pass
        self._core.leave_if_closed()

    def _idle_slots(self) -> list[Slot[C]]:
        with self._core.lock:
            return self._core.state.idle_slots_locked()

    def _tend(self, slot: Slot[C]) -> None:
        """Do what one idle connection needs, if anything."""
        core, state = self._core, self._core.state
        with core.lock:
            if slot.state is not IDLE:
                return  # It was leased in the meantime.
            lease = state.claim_locked(slot)
            reason = state.reason_to_close_locked(slot, core.now())
        reason = reason or self._find_fault(slot, lease.connection)
        if reason is None:
            core.run(state.put_back_locked, lease, slot)
        else:
            core.retire(lease, reason)

    def _find_fault(self, slot: Slot[C], connection: C) -> CloseReason | None:
        """Clean it if it needs that, and see whether the server still has the other end of it."""
        core = self._core
        limits = core.state.limits
        reason = core.connector.clean(slot, connection) if slot.is_dirty else None
        if reason is not None:
            return reason
        last_traffic = max(slot.idle_since, slot.traffic_at)
        needs_traffic = 0 < limits.keepalive <= core.now() - last_traffic
        if (needs_traffic or slot.watch()) and not core.check(slot, connection, limits.timeout):
            return CloseReason.CHECK_FAILED
        return None

    def warm(self, deadline: float) -> None:
        """Open connections up to ``min_size`` until then; raises what connecting does."""
        while self._core.now() < deadline and self._open_one(deadline):
            pass

    def _refill(self) -> bool:
        """Open one connection towards ``min_size``; false if there is nothing (more) to do."""
        core, state = self._core, self._core.state
        if not state.counters.opened:
            return False  # No thread has used this pool yet.
        try:
            return self._open_one(core.now() + state.limits.timeout)
        except Exception as error:
            logger.warning(
                "Pool %r: could not connect in the background: %s",
                core.home.name,
                error,
                extra={"pool": core.home.name},
            )
            return False

    def _open_one(self, deadline: float) -> bool:
        """Open one connection if there are fewer than ``min_size``; false if not."""
        core, state = self._core, self._core.state
        lease: Lease[C] = Lease(core.home)
        with core.lock:
            is_open = state.status is PoolStatus.OPEN
            if not is_open or len(state.slots) >= state.limits.min_size:
                return False
            if not state.reserve_locked(lease, here.owner, None, core.now()):
                return False
        slot = lease.held_slot()
        if not core.open(lease, slot, deadline, core.connector.driver.connect):
            return False
        with core.lock:
            state.counters.checkouts -= 1
        lease.release()
        return slot.state is not CLOSED  # Or else this might go on for ever.
