"""The bounded pool of one process for one database server."""

from __future__ import annotations

import dataclasses

from .clock import Bell
from .driver import C
from .ledger import PoolStatus
from .lender import Lender
from .owner import Owner
from .reaper import reaper
from .slot import CloseReason, Lease, Slot
from .stats import PoolStats
from .upkeep import Upkeep


class ConnectionPool(Lender[C], Upkeep[C]):
    """Physical connections, at most ``max_size`` of them, lent out one lease at a time.

    What it lends and takes back is the ``Lender``'s part, what happens in the background
    ``Upkeep``'s; both decide in the same ``Ledger`` and have their work done in the same
    ``Workshop``. Here it is steered and looked at.
    """

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
            ledger.set_limits(
                dataclasses.replace(
                    ledger.limits,
                    max_size=max_size,
                    min_size=ledger.limits.min_size if min_size is None else min_size,
                )
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

    def is_short(self, owner: Owner) -> bool:
        """Whether somebody waits for what ``owner`` does not use any more, from now on.

        Takes no lock.
        """
        return self._ledger.is_short(owner, self.now())

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
