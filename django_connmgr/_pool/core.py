"""The lock, the state behind it, and what becomes of its decisions."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .clock import Clock
from .connector import Connector
from .decision import Decision
from .driver import C, Driver
from .events import Event, emit
from .lease import Lease
from .limits import Limits
from .logs import logger
from .lost import Lost
from .observed import ObservedState
from .reaper import reaper
from .scope import Home
from .slot import CloseReason, Slot
from .state import PoolState, PoolStatus

R = TypeVar("R")


class Core(Generic[C]):
    """Where deciding and doing meet: a method decides under the lock, lets go of it, and acts.

    It cannot deadlock: there is one lock, under which nothing blocks and no code of others
    runs, and a thread waits (for its own bell, never for longer than its deadline) only while
    it holds no lock. Finalisers append and ring, and never lock.
    """

    def __init__(
        self, home: Home, driver: Driver[C], limits: Limits, clock: Clock, *, is_observed: bool
    ) -> None:
        self.home = home
        self.clock = clock
        self.now = clock.now
        self.connector = Connector(home.name, driver)
        # Protects the state and every slot as ``Slot`` says. Under it: no I/O, no log, no
        # driver, no user's code, no other lock, no wait.
        self.lock = threading.Lock()
        state_class: type[PoolState[C]] = ObservedState if is_observed else PoolState
        self.state = state_class(home, limits, Lost(reaper.nudge))  # guarded by lock

    def run(self, decide: Callable[..., R], *args: object) -> R:
        """Call a method of the state with the lock, and the time; then do what was decided."""
        with self.lock:
            result = decide(*args, self.now())
            decision = self.state.take_decision_locked()
        self.act(decision)
        return result

    def catch_up(self) -> None:
        """Do what was decided, and has not been done."""
        with self.lock:
            decision = self.state.take_decision_locked()
        self.act(decision)

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
                    extra={"pool": self.home.name, "owner": name},
                )
                emit(Event(kind="reaped", pool=self.home.name, owner=name))
            decision = self._close(decision.close) if decision.close else None

    def _close(self, closing: dict[Lease[C], CloseReason]) -> Decision[C] | None:
        # A lease may have been taken back meanwhile, by a thread that found it lost. If this is
        # interrupted, some may be open still. So their places stay taken: the leases' finalisers
        # report them, and the next who gets one looks what is left of it.
        held = [lease for lease in closing if lease.is_held()]
        self.connector.close([lease.held_slot() for lease in held])
        with self.lock:
            for lease in held:
                self.state.remove_locked(lease, closing[lease], self.now())
            decision = self.state.take_decision_locked()
        self.leave_if_closed()
        for lease in held:
            emit(Event(kind="closed", pool=self.home.name, reason=closing[lease].value))
        return decision

    def retire(self, lease: Lease[C], reason: CloseReason) -> None:
        """Close the connection of a lease, then free its place."""
        self.run(self.state.retire_locked, lease, reason)

    def open(
        self, lease: Lease[C], slot: Slot[C], deadline: float, connect: Callable[[float], C]
    ) -> bool:
        """Connect, for a slot reserved under the lock; false to wait for another connection."""
        state, started = self.state, self.now()
        try:
            timeout = max(deadline - started, 0.0)
            self.connector.open(slot, connect, timeout, state.limits.max_lifetime)
            self.run(state.opened_locked, lease, slot, started)
        except BaseException as error:
            if slot.connection is not None:
                self.retire(lease, CloseReason.DISCARDED)
                raise
            # The place is free; if the server is full, there may be other connections to await.
            is_refused = isinstance(error, Exception) and self.connector.driver.is_overloaded(error)
            may_wait = self.run(state.failed_locked, lease, started, is_refused)
            self.leave_if_closed()
            reason, seconds = type(error).__name__, self.now() - started
            emit(Event(kind="connect_failed", pool=self.home.name, reason=reason, seconds=seconds))
            if may_wait:
                return False
            raise
        if not lease.is_held():
            raise self.home.errors.closed(
                f"Pool {self.home.name!r} was closed while a connection was being opened."
            )
        reaper.watch(self.home)  # type: ignore[arg-type]
        emit(Event(kind="opened", pool=self.home.name, seconds=self.now() - started))
        return True

    def is_fit(self, lease: Lease[C], slot: Slot[C], deadline: float) -> bool:
        """Whether a used connection may be handed out; it is closed if not."""
        connection, state = lease.connection, self.state
        reason: CloseReason | None = None
        if slot.is_dirty:
            # Its last owner died or lost it, so it skipped what a release looks at.
            reason = self.connector.clean(slot, connection)
            with self.lock:
                reason = reason or state.reason_to_retire_locked(slot, slot.leased_at)
        if reason is None:
            idle = slot.leased_at - max(slot.idle_since, slot.traffic_at)
            if idle <= state.limits.check_after and not slot.watch():
                return True
            if self.check(slot, connection, deadline - slot.leased_at):
                return True
            reason = CloseReason.CHECK_FAILED
        self.retire(lease, reason)
        return False

    def check(self, slot: Slot[C], connection: C, timeout: float) -> bool:
        """Ask the server. The first connection found dead condemns all of its generation.

        So an outage costs one check, not one for each connection that it killed.
        """
        is_alive = self.connector.driver.check(connection, max(timeout, 0.0))
        condemned = self.run(self.state.checked_locked, slot, is_alive)
        if not is_alive:
            logger.warning(
                "Pool %r: a connection was found dead; %d other idle ones of its age go with it.",
                self.home.name,
                condemned,
                extra={"pool": self.home.name},
            )
        return is_alive

    def leave_if_closed(self) -> None:
        """Take leave of the reaper once the pool is closed and its last slot is gone."""
        if self.state.status is PoolStatus.CLOSED and not self.state.slots:
            reaper.unwatch(self.home)  # type: ignore[arg-type]
