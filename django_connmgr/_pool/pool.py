"""The bounded pool of one process for one database server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from .clock import Bell, Clock, SystemClock
from .core import Core
from .driver import C, Driver
from .errors import Errors
from .lease import Holder, Lease
from .limits import Limits
from .lost import RESTS_COLD
from .maintenance import Maintenance
from .owner import here
from .report import describe_exhaustion, stack_here
from .scope import Scope
from .slot import CLOSED, CloseReason, Slot
from .state import LOOK_AGAIN, PoolStatus
from .stats import LeaseRecord, PoolStats
from .view import as_records, leases_locked, stats_locked
from .waiter import Waiter


class ConnectionPool(Generic[C]):
    """Physical connections, at most ``max_size`` of them, lent out one lease at a time.

    An acquire takes, in this order: what is warm for its thread, a cold connection, a new one,
    the warm one that lay longest if the pool is full, or it waits in the queue: first come,
    first served. Whatever frees capacity makes one pass over the queue: a release, a failed
    connect, a closed connection, a dead owner.
    """

    def __init__(
        self,
        name: str,
        driver: Driver[C],
        limits: Limits | None = None,
        *,
        errors: Errors | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.driver = driver
        self.errors = errors or Errors()
        #: It refuses; a new one has to be made.
        self.is_closed = False
        self._clock = clock or SystemClock()
        self._start(limits or Limits())

    def _start(self, limits: Limits) -> None:
        self._core: Core[C] = Core(self, self.driver, limits, self._clock)
        self._maintenance = Maintenance(self._core)
        # For the way of every query, which would otherwise look them up in three objects.
        self._now = self._clock.now
        self._lock = self._core.lock
        self._state = self._core.state
        self._look = self.driver.look
        self._keeps_warm = self._state.keeps_warm

    # Leases

    def acquire(
        self,
        timeout: float | None = None,
        scope: Scope | None = None,
        holder: Holder | None = None,
        connect: Callable[[float], C] | None = None,
    ) -> Lease[C]:
        """Lease a connection within ``timeout`` seconds (default: the pool's), all included.

        It belongs to the unit of work ``scope``. ``holder`` says why the lease is not over yet,
        for those who look. ``connect`` opens the physical connection if one has to be opened, in
        place of the driver's: its errors are raised at once and as they are. Otherwise raises
        ``PoolTimeout``, ``PoolClosed`` or ``TooManyRequests``.
        """
        lease: Lease[C] = Lease(self, holder)
        state, owner = self._state, here.owner
        now = self._now()
        with self._lock:
            waiter = state.acquire_locked(lease, owner, scope, now, timeout)
        try:
            if waiter is not None:
                is_served = False
                if waiter.decision is None:  # Nothing is to be done but to sleep.
                    self._clock.wait(waiter, min(waiter.timeout, LOOK_AGAIN))
                    is_served = waiter.is_out and not state.lost.queue
                if not is_served or lease.slot is None:
                    self._wait(lease, waiter)
            slot: Any = lease.slot
            if now - slot.idle_since <= state.look_after and not slot.watch():
                return lease
            self._make_ready(lease, scope, now, timeout, connect or self.driver.connect)
        except BaseException:
            # Timeouts included. A second exception in here is the finaliser's business.
            if waiter is not None and not waiter.is_out:
                self._withdraw(waiter)
            if lease.is_held():
                self.release(lease)
            raise
        return lease

    def retake(self, slot: Slot[C], holder: Holder | None = None) -> Lease[C] | None:
        """Lease what is warm for the calling thread; ``None`` if ``acquire()`` has to see to it."""
        lease: Lease[C] = Lease(self, holder)
        with self._lock:
            if not self._state.retake_locked(slot, lease, here.owner, self._now()):
                return None
        if not slot.watch():
            return lease
        self.release(lease, is_warm=True)  # For ``acquire()`` to find, and to look into.
        return None

    def _wait(self, lease: Lease[C], waiter: Waiter) -> None:
        """Return when a slot was promised; raises when it is refused, or out of time."""
        core, state = self._core, self._state
        looked = waiter.lined_up_at
        decision, waiter.decision = waiter.decision, None
        has_slept = decision is None
        try:
            core.act(decision)
            while not waiter.is_out:
                if has_slept:
                    looked = core.now()
                    with core.lock:
                        decision = state.look_again_locked(waiter, looked)
                    core.act(decision)
                decision = None  # It refers to leases, which must not live on while this sleeps.
                # From the last look on, or a moment that passed since would be forgotten.
                until = min(looked + state.pause_of(waiter, looked), waiter.deadline)
                now = core.now()
                if waiter.is_out or now >= waiter.deadline:  # type: ignore[redundant-expr]
                    break
                if now < until:
                    core.clock.wait(waiter, until - now)
                has_slept = True
        finally:
            if not waiter.is_out or state.lost.queue:
                self._withdraw(waiter)
        if waiter.error is not None:
            raise waiter.error
        if not lease.is_held():
            raise self._timed_out(core.now() - waiter.lined_up_at)

    def _withdraw(self, waiter: Waiter) -> None:
        """Leave the queue; what the waiter was rung for may be there still, for the next."""
        with self._lock:
            decision = self._state.withdraw_locked(waiter, self._now())
        self._core.act(decision)

    def _make_ready(
        self,
        lease: Lease[C],
        scope: Scope | None,
        began: float,
        timeout: float | None,
        connect: Callable[[float], C],
    ) -> None:
        """Open a connection, or see that a doubtful one works; if not, queue again, in front."""
        core, state = self._core, self._state
        deadline = began + (state.limits.timeout if timeout is None else timeout)
        while not self._has_connection(lease, deadline, connect):
            now = core.now()
            if now >= deadline:  # A frozen server took all the time there was.
                raise self._timed_out(now - began)
            waiter = Waiter(lease, here.owner, scope, now, deadline - now)
            with core.lock:
                waiter.decision = state.enqueue_locked(waiter, now, is_first=True)
            self._wait(lease, waiter)
        if state.limits.leak_threshold:
            lease.held_slot().stack = stack_here()

    def _has_connection(
        self, lease: Lease[C], deadline: float, connect: Callable[[float], C]
    ) -> bool:
        """Whether the lease has a working connection; false if its slot had to be given up."""
        if not lease.is_held():
            return False  # Its owner died, or the process forked.
        slot = lease.held_slot()
        if slot.connection is None:
            return self._core.open(lease, slot, deadline, connect)
        if self._core.is_fit(lease, slot, deadline):
            return True
        with self._lock:
            self._state.checkouts -= 1
        return False

    def _timed_out(self, waited: float) -> Exception:
        core, state = self._core, self._state
        with core.lock:
            now = core.now()
            state.counters.timeouts += 1
            decision = state.sweep_locked(now)
            stats = stats_locked(state)
            seen = leases_locked(state, now, warm=not state.limits.reclaim)
        core.act(decision)
        error = self.errors.timeout(describe_exhaustion(stats, as_records(seen), waited))
        error.__cause__ = core.connector.error
        return error

    def release(self, lease: Lease[C], *, is_warm: bool = False) -> bool:
        """As ``Lease.release()``; false if the lease was over already."""
        if not lease.is_held():
            return False
        slot = lease.held_slot()
        connection = slot.connection
        is_clean = connection is not None and self._core.connector.is_clean(slot, connection)
        if is_clean or self._clean(lease, slot):
            with self._lock:
                self._state.connecting.pop(slot, None)  # It may be interrupted when it was opened.
                following = self._state.release_locked(lease, self._now(), is_warm)
            if isinstance(following, Waiter):
                following.ring()
            else:
                self._core.act(following)
        return True

    def rest(self, lease: Lease[C]) -> bool:
        """Release a lease whose connection is not used right now, if it is clean.

        It stays warm for its owner, by the option ``release``. True if it lies in the pool now;
        false if another owner has it or it is closed, or if it is the lease's still, not clean.
        """
        slot: Any = lease.slot
        try:
            if self._look(slot.connection) != slot.pristine:
                return False
        except Exception:
            return False  # It was closed by its user, or the lease is over.
        with self._lock:
            following = self._state.release_locked(lease, self._now(), self._keeps_warm)
        if following is None:
            return True
        if following.__class__ is Waiter:
            following.ring()
        else:
            self._core.act(following)  # type: ignore[arg-type]
        return False

    def has_transaction(self, lease: Lease[C]) -> bool:
        """Whether a lease's connection is in the middle of a transaction. No round trip."""
        return self._core.connector.has_transaction(lease.held_slot())

    def _clean(self, lease: Lease[C], slot: Slot[C]) -> bool:
        """Undo what the borrower did; false if the slot was given up instead."""
        core = self._core
        if slot.connection is None:  # Interrupted while connecting.
            with core.lock:
                decision = core.state.remove_locked(lease, None, core.now())
            core.act(decision)
            return False
        slot.is_dirty = True
        try:
            reason = core.connector.clean(slot, slot.connection)
        except BaseException:
            # Interrupted. Nobody can say how far it came: the next who gets it looks.
            slot.lost.report(slot, slot.lease, RESTS_COLD)
            raise
        if reason is None:
            return True
        core.retire(lease, slot, reason)
        return False

    def discard(self, lease: Lease[C]) -> None:
        """As ``Lease.discard()``."""
        slot = lease.held_slot()
        if slot.connection is None:
            self._clean(lease, slot)
            return
        with self._lock:
            self._state.hold_seconds += self._now() - slot.leased_at
        self._core.retire(lease, slot, CloseReason.DISCARDED)

    # For the wrappers of Django's connections

    def move(self, lease: Lease[C], scope: Scope | None) -> None:
        """Have a lease be of another unit of work, unless its own is over: then it goes."""
        with self._lock:
            self._state.move_locked(lease, scope)

    def keep(self, lease: Lease[C]) -> bool:
        """Keep a lease that is not used right now; false if its unit of work is over."""
        with self._lock:
            return self._state.keep_locked(lease, self._now())

    def use(self, lease: Lease[C]) -> bool:
        """Use a kept lease; false if another thread ended its unit of work meanwhile."""
        with self._lock:
            return self._state.use_locked(lease)

    def cool(self, slot: Slot[C]) -> bool:
        """Let others have what is warm for the calling thread; whether it was."""
        state = self._state
        with self._lock:
            was_warm = state.cool_locked(slot, here.owner)
        if state.waiters:  # One that comes from now on makes a pass itself, and finds it.
            self._serve()
        return was_warm

    def _serve(self) -> None:
        with self._lock:
            decision = self._state.serve_locked(self._now())
        self._core.act(decision)

    def end_scope(self, slot: Slot[C], scope: Scope) -> bool:
        """Give a slot of a unit of work back, now or when its use ends; true if it went now."""
        core = self._core
        with core.lock:
            if slot.scope is not scope.ref:
                return False
            lease, went, decision = core.state.end_scope_locked(slot, core.now())
        core.act(decision)
        if lease is not None:
            self.release(lease)
        return went

    def share(self, lease: Lease[C]) -> None:
        """Outlive the owner's thread, because others use the connection too."""
        with self._lock:
            self._state.share_locked(lease)

    def unshare(self, lease: Lease[C]) -> None:
        """Be the calling thread's alone again."""
        with self._lock:
            self._state.unshare_locked(lease, here.owner)

    def never_warm(self, lease: Lease[C]) -> None:
        """Let others have the connection as soon as the lease is over."""
        with self._lock:
            self._state.never_warm_locked(lease)

    def count(self, counter: str, change: int = 1) -> None:
        """Change one of the ``Counters``."""
        with self._lock:
            counters = self._state.counters
            setattr(counters, counter, getattr(counters, counter) + change)

    # Steering

    def recycle(self) -> None:
        """Condemn every connection: idle ones are closed now, leased ones when they come back."""
        with self._lock:
            decision = self._state.condemn_locked()
        self._core.act(decision)

    def drain(self, timeout: float = 30.0) -> bool:
        """``recycle()``, then wait until every older connection is closed.

        New acquires go on, on new connections. False if some were still out after
        ``timeout`` seconds; they are closed when they come back all the same.
        """
        core, state = self._core, self._state
        deadline = core.now() + timeout
        bell = Bell()
        with core.lock:
            state.drainers.append(bell)
        try:
            self.recycle()
            while True:
                with core.lock:
                    is_drained = all(s.generation == state.generation for s in state.slots)
                now = core.now()
                if is_drained or now >= deadline:
                    return is_drained
                core.clock.wait(bell, deadline - now)
        finally:
            with core.lock:
                state.drainers.remove(bell)

    def suspend(self) -> None:
        """Hand nothing out until ``resume()``: acquires wait, within their deadlines."""
        with self._lock:
            if self._state.status is PoolStatus.OPEN:
                self._state.suspend_locked()

    def resume(self) -> None:
        """Undo ``suspend()``."""
        with self._lock:
            self._state.open_locked()
            decision = self._state.serve_locked(self._now())
        self._core.act(decision)

    def resize(self, max_size: int | str | None, *, min_size: int | str | None = None) -> None:
        """Change the bounds. Surplus connections are closed when idle, now or later.

        The rules of the options hold: ``ValueError``, and nothing is changed, for what may not
        stand there.
        """
        state = self._state
        limits = state.limits.resized(max_size, min_size)
        with self._lock:
            decision = state.resize_locked(limits, self._now())
        self._core.act(decision)

    def close(self, *, linger: bool = True) -> None:
        """Refuse from now on: waiters fail, idle connections close, leased ones on return.

        Without ``linger`` no close waits for the server to let go of the connection.
        """
        self.is_closed = True
        self._core.connector.lingers = linger
        with self._lock:
            decision = self._state.close_locked(self._now())
        self._core.act(decision)
        self._core.leave_if_closed()

    def shut_down(self) -> None:
        """``close()`` at the exit of the process, where waiters sleep on: it ends with them."""
        with self._lock:
            self._state.waiters.clear()
        self.close(linger=False)

    def after_fork(self) -> None:
        """In a child process: start empty, and let nothing of the parent's be touched."""
        inherited = list(self._state.slots)
        self._start(self._state.limits)
        for slot in inherited:
            lease = None if slot.lease is None else slot.lease()
            if lease is not None:
                lease.slot = None  # It is the parent's.
            slot.state, slot.lease = CLOSED, None
            if slot.owner is not None:
                slot.owner.held.pop(slot, None)
            if slot.connection is not None:
                self.driver.abandon(slot.connection)

    # Upkeep

    def maintain(self) -> None:
        """One pass of upkeep, one connection at a time: reap, tell, retire, keep alive, refill.

        The background thread calls it every ``reap_interval`` seconds; any thread may.
        """
        self._maintenance.run()

    def reap(self) -> None:
        """Take back what was lost, and nothing else: for the background thread, at once."""
        self._maintenance.reap()

    @property
    def reap_interval(self) -> float:
        """Seconds between two passes of ``maintain()``; 0 for none."""
        return self._state.limits.reap_interval

    def has_lost(self) -> bool:
        """Whether leases ended without a release and nobody has seen to them yet."""
        return bool(self._state.lost.queue)

    # Looking

    def stats(self) -> PoolStats:
        """The pool's numbers at one moment; see ``PoolStats``."""
        with self._lock:
            return stats_locked(self._state)

    def leases(self, *, stacks: bool = False) -> list[LeaseRecord]:
        """Who has what at one moment, longest held first; with ``stacks``, where they are now."""
        with self._lock:
            seen = leases_locked(self._state, self._now())
        return as_records(seen, stacks=stacks)

    def __repr__(self) -> str:
        s = self.stats()
        return (
            f"<ConnectionPool {s.name!r} {s.status}: size={s.size}/{s.max_size} "
            f"connecting={s.connecting} idle={s.idle} leased={s.leased} "
            f"maintenance={s.maintenance} waiting={s.waiting}>"
        )
