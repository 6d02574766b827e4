"""The state of a pool that measures how long things take. Others pay nothing for it."""

from .decision import Decision
from .driver import C
from .lease import Lease
from .limits import Limits
from .lost import Lost
from .scope import Home
from .slot import LEASED, Slot
from .state import PoolState
from .timings import MOST_NOTES, Histogram, Timings, Uses
from .waiter import Waiter


class ObservedState(PoolState[C]):
    """Notes, and then does what the state does: an interruption in between loses a note only."""

    def __init__(self, home: Home, limits: Limits, lost: Lost) -> None:
        super().__init__(home, limits, lost)
        self._waits, self._connects = Histogram(), Histogram()
        self._uses = Uses()

    def release_locked(
        self, lease: Lease[C], warm: Slot[C] | None, now: float
    ) -> Waiter | Decision[C] | None:
        # On the way of every query.
        slot = lease.slot
        if slot is not None and slot.state is LEASED:
            uses = self._uses
            uses.notes.append((now - slot.leased_at, slot.scope))
            if len(uses.notes) >= MOST_NOTES:
                uses.count()
        return super().release_locked(lease, warm, now)

    def discard_locked(self, lease: Lease[C], now: float) -> None:
        slot = lease.slot
        if slot is not None:
            self._uses.notes.append((now - slot.leased_at, slot.scope))
        super().discard_locked(lease, now)

    def opened_locked(self, lease: Lease[C], slot: Slot[C], started: float, now: float) -> None:
        self._connects.add([now - started])
        super().opened_locked(lease, slot, started, now)

    def _dismiss_locked(self, waiter: Waiter, now: float) -> None:
        if not waiter.is_out and waiter.lease.slot is not None:
            self._waits.add([now - waiter.lined_up_at])
        super()._dismiss_locked(waiter, now)

    def timings_locked(self) -> Timings:
        self._uses.count()
        at_once = max(self.counters.checkouts - self._waits.count(), 0)
        return Timings(
            wait=self._waits.freeze(at_once),
            connect=self._connects.freeze(),
            use=self._uses.histogram.freeze(),
            units=self._uses.by_unit(),
        )
