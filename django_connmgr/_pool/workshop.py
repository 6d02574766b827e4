"""Where connections are opened, checked, cleaned and closed: outside the pool's lock."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, cast

from ..exceptions import PoolError
from .clock import Clock, SystemClock
from .driver import C, ConnectionState, Driver
from .ledger import Ledger, PoolStatus
from .limits import Limits
from .reaper import reaper
from .slot import CloseReason, Lease, Slot, SlotState
from .spread import Spread
from .waiters import Waiter

if TYPE_CHECKING:
    from .pool import ConnectionPool

logger = logging.getLogger("django_connmgr.pool")


class Workshop(ABC, Generic[C]):
    """What is done to connections. It owns the lock, and does its work without holding it.

    A method works on the slot of a lease that it is given, which nobody else touches; then
    it takes the lock, has the ledger note the outcome and serve whoever waits, lets go of
    the lock, and rings the bells of those who were served.
    """

    def __init__(
        self,
        name: str,
        driver: Driver[C],
        limits: Limits | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.driver = driver
        self._clock = clock or SystemClock()
        self.now = self._clock.now
        self._start(limits or Limits())

    def _start(self, limits: Limits) -> None:
        # Protects the ledger and the counters in it, and every slot as ``Slot`` says.
        # Under it: no I/O, no logging, no driver, no user's code, no other lock.
        self._lock = threading.Lock()
        self._ledger: Ledger[C] = Ledger(
            cast("ConnectionPool[C]", self), limits
        )  # guarded by _lock
        #: Who waits for a connection, for those who look whether anybody does.
        self.waiters = self._ledger.waiters
        self._lifetimes = Spread()
        self._lingers = True
        #: The last failed connect, until one succeeds; chained to timeouts.
        self._connect_error: Exception | None = None

    @property
    def reap_interval(self) -> float:
        """Seconds between two passes of ``maintain()``; 0 for none."""
        return self._ledger.limits.reap_interval

    def has_orphans(self) -> bool:
        """Whether leases ended without a release and nobody has seen to them yet."""
        return bool(self._ledger.orphans)

    @abstractmethod
    def maintain(self) -> None:
        """One pass of upkeep; for the reaper, which is told of the pool at its first connect."""

    def _open(
        self, lease: Lease[C], slot: Slot[C], deadline: float, connect: Callable[[float], C]
    ) -> bool:
        """Connect, for a slot reserved under the lock; false to wait for another connection."""
        started = self.now()
        try:
            slot.connection = connect(max(deadline - started, 0.0))
        except BaseException as error:
            if self._failed_to_open(lease, slot, started, error):
                return False
            raise
        self._connect_error = None
        with self._lock:
            now = self.now()
            ledger = self._ledger
            ledger.counters.opened += 1
            ledger.counters.connect_seconds += now - started
            ledger.pace.connect_time = now - started
            ledger.counters.checkouts += 1
            slot.traffic_at = slot.leased_at = slot.used_at = now
            slot.expires_at = self._lifetimes.expiry(now, ledger.limits.max_lifetime)
            slot.state = SlotState.LEASED
            # One connect fewer is under way: the next in line may begin.
            served = ledger.serve(now) if ledger.waiters else []
        self._act(served)
        reaper.watch(self)
        return True

    def _failed_to_open(
        self, lease: Lease[C], slot: Slot[C], started: float, error: BaseException
    ) -> bool:
        """Free the place; true if the server is full and there are other connections to await."""
        is_overloaded = False
        if isinstance(error, Exception):
            is_overloaded = self.driver.is_overloaded(error)
            self._connect_error = _without_frames(error)
        with self._lock:
            now = self.now()
            ledger = self._ledger
            ledger.remove(slot, None)
            lease.forget()
            ledger.counters.connect_failures += 1
            ledger.counters.connect_seconds += now - started
            may_wait = is_overloaded and ledger.pause_growth(now)
            served = ledger.serve(now)
        self._act(served)
        self._leave_if_closed()
        return may_wait

    def _is_fit(self, lease: Lease[C], slot: Slot[C], connection: C, deadline: float) -> bool:
        """Whether a connection may be handed out; it is closed if not."""
        reason: CloseReason | None = None
        if slot.is_dirty:
            # Its last owner died or lost it, so it skipped what a return looks at.
            if self.driver.is_clean(connection):
                slot.is_dirty = False
            else:
                reason = self._clean(slot, connection)
            # Without the lock: what is decided a moment later is for its return.
            reason = reason or self._ledger.reason_to_retire(slot, slot.leased_at)
        if reason is None:
            idle = slot.leased_at - slot.traffic_at
            if idle <= self._ledger.limits.check_after and self.driver.is_quiet(connection):
                return True
            if self._check(slot, connection, deadline - slot.leased_at):
                return True
            reason = CloseReason.CHECK_FAILED
        self._retire([lease], reason)
        return False

    def _check(self, slot: Slot[C], connection: C, timeout: float) -> bool:
        """Ask the server. The first connection found dead condemns all of its generation.

        So an outage costs one check, not one for each connection that it killed.
        """
        is_alive = self.driver.check(connection, max(timeout, 0.0))
        with self._lock:
            now = self.now()
            self._ledger.counters.checks += 1
            if is_alive:
                slot.traffic_at = now
                return True
            condemned: list[Lease[C]] = []
            if slot.generation == self._ledger.generation:
                condemned = self._ledger.condemn(now)
        logger.warning(
            "Pool %r: a connection was found dead; %d other idle ones of its age go with it.",
            self.name,
            len(condemned),
        )
        self._retire(condemned, CloseReason.RECYCLED)
        return False

    def _clean(self, slot: Slot[C], connection: C) -> CloseReason | None:
        """Make a used connection as the next borrower expects it, or say why it cannot be."""
        driver = self.driver
        try:
            state = driver.state(connection)
            if state is ConnectionState.IN_TRANSACTION:
                driver.rollback(connection)
                state = driver.state(connection)
            if state is not ConnectionState.IDLE:
                return CloseReason.UNUSABLE
            if not driver.reset(connection):
                return CloseReason.RESET_FAILED
        except Exception:
            logger.warning(
                "Pool %r: a connection could not be reset, so it is closed.",
                self.name,
                exc_info=True,
            )
            return CloseReason.RESET_FAILED
        slot.is_dirty = False
        return None

    def _give_up(self, lease: Lease[C], slot: Slot[C]) -> None:
        with self._lock:
            self._ledger.remove(slot, None)
            lease.forget()
            served = self._ledger.serve(self.now())
        self._act(served)
        self._leave_if_closed()

    def _retire(self, leases: list[Lease[C]], reason: CloseReason) -> None:
        """Close connections that only we use any more, then free their places."""
        if not leases:
            return
        slots = [lease.slot for lease in leases]
        connections = [slot.connection for slot in slots if slot.connection is not None]
        # If this is interrupted, some may be open still. So their places stay taken: the
        # leases' finalisers report them, and whoever gets one looks what is left of it.
        self.driver.close(connections, linger=self._lingers)
        with self._lock:
            for lease, slot in zip(leases, slots, strict=True):
                self._ledger.remove(slot, reason)
                lease.forget()
            served = self._ledger.serve(self.now())
        self._act(served)
        self._leave_if_closed()

    def _leave_if_closed(self) -> None:
        """Take leave of the reaper once the pool is closed and its last slot is gone."""
        if self._ledger.status is PoolStatus.CLOSED and not self._ledger.slots:
            reaper.unwatch(self)

    def _act(self, served: list[Waiter]) -> None:
        """Do what was decided under the lock: ring the bells, write the log."""
        for waiter in served:
            waiter.bell.ring()
        obituaries = self._ledger.obituaries
        while obituaries:
            try:
                name = obituaries.popleft()
            except IndexError:
                return  # Another thread logged it.
            logger.info(
                "Pool %r: took back a connection that thread %r never released.", self.name, name
            )

    def _look_again(self) -> float:
        """Serve the line with what there is; returns when."""
        with self._lock:
            now = self.now()
            self._ledger.find_orphans(now)
            served = self._ledger.serve(now)
        self._act(served)
        return now

    def _retire_condemned(self) -> None:
        """Close idle connections of older generations, and all if the pool is closed."""
        with self._lock:
            now = self.now()
            ledger = self._ledger
            reasons = [(slot, ledger.reason_to_retire(slot, now)) for slot in ledger.idle_slots()]
            condemned = [(ledger.claim(slot, now), reason) for slot, reason in reasons if reason]
        for lease, reason in condemned:
            self._retire([lease], reason)


def _without_frames(error: Exception) -> Exception:
    """The same error, without the traceback that would keep its callers' locals alive."""
    try:
        return type(error)(*error.args)
    except Exception:
        return PoolError(str(error))
