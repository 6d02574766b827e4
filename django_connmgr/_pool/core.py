"""The lock, the state behind it, and what becomes of its decisions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic

from .clock import Clock
from .connector import Connector
from .decision import Decision
from .driver import C, Driver
from .lease import Home, Lease
from .limits import Limits
from .lost import Lost
from .reaper import reaper
from .slot import MAINTENANCE, CloseReason, Slot
from .state import PoolState, PoolStatus

logger = logging.getLogger("django_connmgr.pool")


class Core(Generic[C]):
    """Where deciding and doing meet: a method decides under the lock, lets go of it, and acts.

    It cannot deadlock: there is one lock, under which nothing blocks and no code of others
    runs, and a thread waits (for its own bell, never for longer than its deadline) only while
    it holds no lock. Finalisers append and ring, and never lock.
    """

    def __init__(self, home: Home, driver: Driver[C], limits: Limits, clock: Clock) -> None:
        self.home = home
        self.clock = clock
        self.now = clock.now
        self.connector = Connector(home.name, driver)
        # Protects the state and every slot as ``Slot`` says. Under it: no I/O, no log, no
        # driver, no user's code, no other lock, no wait.
        self.lock = threading.Lock()
        self.state: PoolState[C] = PoolState(home, limits, Lost(reaper.nudge))  # guarded by lock

    def act(self, decision: Decision[C] | None) -> None:
        """Do what was decided: ring bells, write the log, close connections."""
        while decision is not None:
            for bell in decision.wake:
                bell.ring()
            for name in decision.reaped:
                logger.info(
                    "Pool %r: took back a connection that thread %r never released.",
                    self.home.name,
                    name,
                )
            decision = self._close(decision.close) if decision.close else None

    def _close(self, closing: list[tuple[Lease[C], CloseReason]]) -> Decision[C]:
        # If this is interrupted, some may be open still. So their places stay taken: the leases'
        # finalisers report them, and the next who gets one looks what is left of it.
        self.connector.close([lease.held_slot() for lease, _ in closing])
        following: Decision[C] = Decision()
        with self.lock:
            now = self.now()
            for lease, reason in closing:
                following.add(self.state.remove_locked(lease, reason, now))
        self.leave_if_closed()
        return following

    def retire(self, lease: Lease[C], slot: Slot[C], reason: CloseReason) -> None:
        """Close the connection of a lease, then free its place."""
        with self.lock:
            if not lease.is_held():
                return  # It was taken back meanwhile, its owner being dead.
            slot.state = MAINTENANCE
        self.act(Decision(close=(lease, reason)))

    def open(
        self, lease: Lease[C], slot: Slot[C], deadline: float, connect: Callable[[float], C]
    ) -> bool:
        """Connect, for a slot reserved under the lock; false to wait for another connection."""
        started = self.now()
        lifetime = self.state.limits.max_lifetime
        try:
            self.connector.open(slot, connect, max(deadline - started, 0.0), lifetime)
        except BaseException as error:
            if slot.connection is not None:
                self.retire(lease, slot, CloseReason.DISCARDED)
                raise
            if self._note_failure(lease, started, error):
                return False
            raise
        with self.lock:
            decision = self.state.opened_locked(lease, slot, started, self.now())
        self.act(decision)
        if not lease.is_held():
            raise self.home.errors.closed(
                f"Pool {self.home.name!r} was closed while a connection was being opened."
            )
        reaper.watch(self.home)  # type: ignore[arg-type]
        return True

    def _note_failure(self, lease: Lease[C], started: float, error: BaseException) -> bool:
        """Free the place; true if the server is full and there are other connections to await."""
        is_refused = isinstance(error, Exception) and self.connector.driver.is_overloaded(error)
        with self.lock:
            may_wait, decision = self.state.failed_locked(
                lease, started, self.now(), is_refused=is_refused
            )
        self.act(decision)
        self.leave_if_closed()
        return may_wait

    def is_fit(self, lease: Lease[C], slot: Slot[C], deadline: float) -> bool:
        """Whether a used connection may be handed out; it is closed if not."""
        connection = lease.connection
        reason: CloseReason | None = None
        if slot.is_dirty:
            # Its last owner died or lost it, so it skipped what a release looks at.
            if self.connector.is_clean(slot, connection):
                self.connector.note_clean(slot, connection)
            else:
                reason = self.connector.clean(slot, connection)
            with self.lock:
                reason = reason or self.state.reason_to_retire_locked(slot, slot.leased_at)
        if reason is None:
            idle = slot.leased_at - max(slot.idle_since, slot.traffic_at)
            if idle <= self.state.limits.check_after and not slot.watch():
                return True
            if self.check(slot, connection, deadline - slot.leased_at):
                return True
            reason = CloseReason.CHECK_FAILED
        self.retire(lease, slot, reason)
        return False

    def check(self, slot: Slot[C], connection: C, timeout: float) -> bool:
        """Ask the server. The first connection found dead condemns all of its generation.

        So an outage costs one check, not one for each connection that it killed.
        """
        is_alive = self.connector.driver.check(connection, max(timeout, 0.0))
        with self.lock:
            self.state.counters.checks += 1
            if is_alive:
                slot.traffic_at = self.now()
                return True
            condemned: Decision[C] = Decision()
            if slot.generation == self.state.generation:
                condemned = self.state.condemn_locked()
        logger.warning(
            "Pool %r: a connection was found dead; %d other idle ones of its age go with it.",
            self.home.name,
            len(condemned.close),
        )
        self.act(condemned)
        return False

    def leave_if_closed(self) -> None:
        """Take leave of the reaper once the pool is closed and its last slot is gone."""
        if self.state.status is PoolStatus.CLOSED and not self.state.slots:
            reaper.unwatch(self.home)  # type: ignore[arg-type]
