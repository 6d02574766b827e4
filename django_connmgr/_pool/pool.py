"""The bounded pool of one process for one database server."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic

from .cause import Cause, Deadline
from .clock import Bell, Clock, SystemClock
from .core import Core
from .driver import C, ConnectionState, Driver
from .errors import Errors
from .events import Event, emit
from .lease import Holder, Lease
from .limits import Limits
from .logs import logger
from .maintenance import Maintenance
from .observed import ObservedState
from .owner import here
from .report import count_blocked, describe_exhaustion, stack_here, stack_of
from .scope import Scope, timed
from .slot import CLOSED, MAINTENANCE, CloseReason, Slot
from .state import LOOK_AGAIN, PoolStatus
from .stats import LeaseRecord, PoolStats, WaiterRecord
from .timings import Timings
from .view import Seen, as_records, leases_locked, stats_locked, waiters_locked
from .waiter import Waiter

#: As often a transaction that sits idle is looked at before it is told of.
LOOKS = 4

#: What the owner of a lease is told that was ended by an operator, or for a cause.
_KILLED = (
    "This connection of pool {0!r} was taken away while it was held: an operator ended its lease "
    "(manage.py connmgr kill-lease). What was not committed is lost; acquire another."
)
_ENDED = (
    "{0}: its connection of pool {1!r} was taken away while it was held. What was not committed is "
    "lost."
)


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
        is_observed: bool = False,
    ) -> None:
        self.name = name
        self.driver = driver
        self.errors = errors or Errors()
        #: It refuses; a new one has to be made.
        self.is_closed = False
        self._clock = clock or SystemClock()
        self._is_observed = is_observed
        #: See ``_count_blocked()``.
        self._counted_at, self._blocked = float("-inf"), 0
        self._start(limits or Limits())

    def _start(self, limits: Limits) -> None:
        self._core: Core[C] = Core(
            self, self.driver, limits, self._clock, is_observed=self._is_observed
        )
        self._maintenance = Maintenance(self._core)
        # For the way of every query, which would otherwise look them up in three objects.
        self._now = self._clock.now
        self._lock = self._core.lock
        self._state = self._core.state
        self._retake_locked = self._state.retake_locked
        self._release_locked = self._state.release_locked
        self._look = self.driver.look

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
        state, now = self._state, self._now()
        with self._lock:
            waiter = state.acquire_locked(lease, here.owner, scope, now, timeout)
        try:
            if waiter is not None:
                # Mostly there is nothing to do but to sleep until it is served.
                is_plain = state.is_full and state.decision is None and not waiter.is_out
                if is_plain:
                    pause = max(waiter.deadline - self._now(), 0.0)
                    self._clock.wait(waiter, min(pause, LOOK_AGAIN))
                if not is_plain or lease.slot is None or not waiter.is_out or state.lost.queue:
                    self._wait(lease, waiter)
            slot: Any = lease.slot
            if slot.leased_at - slot.idle_since > state.look_after or slot.watch():
                deadline = now + (state.limits.timeout if timeout is None else timeout)
                self._make_ready(lease, scope, now, deadline, connect or self.driver.connect)
        except BaseException:
            # Timeouts included. A second exception in here is the finaliser's business.
            if waiter is not None and not waiter.is_out:
                self._core.run(state.withdraw_locked, waiter)
            # What is being closed is not this thread's any more, whichever closes it.
            if lease.is_held() and lease.held_slot().state is not MAINTENANCE:
                self.release(lease)
            raise
        return lease

    def retake(self, slot: Slot[C], holder: Holder | None = None) -> Lease[C] | None:
        """Lease what is warm for the calling thread; ``None`` if ``acquire()`` has to see to it."""
        if timed:
            return None  # Its unit of work must be the one that it is used in.
        lease: Lease[C] = Lease(self, holder)
        with self._lock:
            if not self._retake_locked(slot, lease, here.owner, self._now()):
                return None
        if slot.watch():
            self.release(lease, is_warm=True)  # For ``acquire()`` to find, and to look into.
            return None
        return lease

    def _wait(self, lease: Lease[C], waiter: Waiter) -> None:
        """Return when a slot was promised; raises when it is refused, or out of time."""
        core, state = self._core, self._state
        try:
            core.catch_up()
            while not waiter.is_out:
                looked = core.now()
                core.run(state.look_again_locked, waiter)
                if waiter.is_out or looked >= waiter.deadline:  # type: ignore[redundant-expr]
                    break
                # From the last look on, or a moment that passed since would be forgotten.
                until = min(looked + state.pause_of(waiter, looked), waiter.deadline)
                pause = until - core.now()
                if pause > 0:
                    core.clock.wait(waiter, pause)
        finally:
            if not waiter.is_out or state.lost.queue:
                core.run(state.withdraw_locked, waiter)
        if waiter.error is not None:
            if isinstance(waiter.error, self.errors.too_many):
                self._tell("rejected", scope=waiter.scope)
            raise waiter.error
        if lease.slot is None:
            raise self._timed_out(core.now() - waiter.lined_up_at, waiter.scope)

    def _make_ready(
        self,
        lease: Lease[C],
        scope: Scope | None,
        began: float,
        deadline: float,
        connect: Callable[[float], C],
    ) -> None:
        """Open a connection, or see that a doubtful one works; if not, queue again, in front."""
        core, state = self._core, self._state
        promised_at = lease.held_slot().leased_at if lease.is_held() else began
        while not self._has_connection(lease, deadline, connect):
            now = core.now()
            if now >= deadline:  # A frozen server took all the time there was.
                raise self._timed_out(now - began, scope)
            waiter = Waiter(lease, here.owner, scope, now, deadline - now)
            with core.lock:
                state.enqueue_again_locked(waiter, now)
            self._wait(lease, waiter)
        if state.limits.leak_threshold:
            lease.held_slot().stack = stack_here()
        if state.limits.slow_acquire:
            self._tell_if_slow(scope, began, promised_at)

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
        self.count("checkouts", -1)
        return False

    def _tell_if_slow(self, scope: Scope | None, began: float, promised_at: float) -> None:
        """Log an acquire that took longer than ``slow_acquire``, and what it took so long for."""
        took = self._now() - began
        if took < self._state.limits.slow_acquire:
            return
        queued, unit = promised_at - began, "" if scope is None else scope.name
        owner = here.owner.name
        logger.warning(
            "Pool %r: thread %r%s got a connection after %.3f s: %.3f s in the queue, %.3f s to "
            "connect or to check.",
            self.name,
            owner,
            f" in {unit}" if unit else "",
            took,
            queued,
            took - queued,
            extra={"pool": self.name, "owner": owner, "unit": unit, "seconds": took},
        )

    def _timed_out(self, waited: float, scope: Scope | None) -> Exception:
        core, state = self._core, self._state
        self.count("timeouts")
        core.run(state.sweep_locked)
        with core.lock:
            stats = stats_locked(state)
            seen = leases_locked(state, core.now(), warm=not state.limits.reclaim)
        text = describe_exhaustion(stats, as_records(seen), waited, self._count_blocked(seen))
        error = self.errors.timeout(text)
        error.__cause__ = core.connector.error
        self._tell("timeout", scope=scope, seconds=waited)
        deadline = None if scope is None else scope.deadline
        if deadline is None or deadline.time_left() > 0:
            return error
        overdue = self.errors.deadline(f"{deadline.describe()}. {text}")
        overdue.__cause__ = error.__cause__
        return overdue

    def _count_blocked(self, seen: list[Seen]) -> int:
        """How many holders wait for a thread, as of the last second.

        To look costs as much as there are threads, and all of them may time out at once.
        """
        now = self._now()
        if now - self._counted_at >= LOOK_AGAIN:
            self._counted_at = now
            self._blocked = count_blocked([owner for _, owner, _ in seen])
        return self._blocked

    def _tell(self, kind: str, *, scope: Scope | None = None, seconds: float = 0.0) -> None:
        """Tell listeners what happened to the calling thread."""
        unit = "" if scope is None else scope.name
        owner = here.owner.name
        emit(Event(kind=kind, pool=self.name, owner=owner, unit=unit, seconds=seconds))

    def release(self, lease: Lease[C], *, is_warm: bool = False) -> bool:
        """As ``Lease.release()``; false if the lease was over already."""
        if not lease.is_held():
            return False
        slot = lease.held_slot()
        warm = slot if is_warm else None
        if not self.rest(lease, warm) and lease.is_held() and self._clean(lease, slot):
            with self._lock:
                following = self._release_locked(lease, warm, self._now())
            if isinstance(following, Waiter):
                following.ring()
            else:
                self._core.act(following)
        return True

    def rest(self, lease: Lease[C], warm: Slot[C] | None) -> bool:
        """Release a lease if its connection is clean; its slot stays warm if it is given.

        True if the connection lies in the pool now; false if another owner has it, if it is
        closed, or if it is not clean: then the lease has it still.
        """
        slot: Any = lease.slot
        try:
            if self._look(slot.connection) != slot.pristine:
                return False
        except Exception:
            return False  # It was closed by its user, or the lease is over.
        with self._lock:
            following = self._release_locked(lease, warm, self._now())
        if following is None:
            return True
        if isinstance(following, Waiter):
            following.ring()
        else:
            self._core.act(following)
        return False

    def _clean(self, lease: Lease[C], slot: Slot[C]) -> bool:
        """Undo what the borrower did; false if the slot was given up instead."""
        core = self._core
        if slot.connection is None:  # Interrupted while connecting.
            core.run(core.state.remove_locked, lease, None)
            return False
        try:
            reason = core.connector.clean(slot, slot.connection)
        except BaseException:
            # Interrupted. The next who gets it looks how far it came.
            slot.lost.report(slot, slot.lease, was_forgotten=False)
            raise
        if reason is not None:
            core.retire(lease, reason)
        return reason is None

    def discard(self, lease: Lease[C]) -> None:
        """As ``Lease.discard()``."""
        slot = lease.held_slot()
        if slot.connection is None:
            self._clean(lease, slot)
        else:
            self._core.run(self._state.discard_locked, lease)

    def has_transaction(self, lease: Lease[C]) -> bool:
        """Whether a lease's connection is in the middle of a transaction. No round trip."""
        return self._core.connector.has_transaction(lease.held_slot())

    def kill(
        self,
        slot: int,
        since: float,
        scope: Scope | None = None,
        cause: Cause | None = None,
    ) -> bool:
        """End one lease and its connection now, although its owner may be using that.

        ``slot`` and ``since`` are those of its ``LeaseRecord``; false if that lease is over, or is
        not of ``scope``. Its place is free when this returns, and what its owner does with the
        connection next fails, with the ``cause``, or else as an operator's will.
        """
        core, state = self._core, self._state
        lease: Lease[C] | None = core.run(state.kill_locked, slot, since, scope, cause)
        if lease is None:
            return False
        connection: Any = lease.held_slot().connection
        kind, unit = ("killed", "") if cause is None else (cause.kind, cause.unit)
        try:
            self.driver.kill(connection)
        finally:
            core.run(state.remove_locked, lease, CloseReason(kind))
            core.leave_if_closed()
        emit(Event(kind=kind, pool=self.name, owner=here.owner.name, unit=unit))
        return True

    def error_of_killed(self, lease: Lease[C]) -> Exception | None:
        """What the owner of a lease is told that ``kill()`` has ended; ``None`` if it has not."""
        killed = self._state.killed
        if lease not in killed:
            return None
        cause = killed[lease]
        if cause is None:
            return self.errors.error(_KILLED.format(self.name))
        is_overdue = isinstance(cause, Deadline)
        error = self.errors.deadline if is_overdue else self.errors.error
        return error(_ENDED.format(cause.describe(), self.name))

    def leases_in(self, scope: Scope) -> list[tuple[int, float]]:
        """Slot and beginning of each lease of a unit of work that is in use."""
        with self._lock:
            leased = self._state.leased_locked(self._now())
        return [(slot.number, since) for slot, since, _, its in leased if its is scope]

    def is_busy(self, slot: int, since: float) -> bool:
        """Whether a query runs on the connection of a lease. No round trip."""
        with self._lock:
            leased = self._state.leased_locked(self._now())
        return any(
            (one.number, began) == (slot, since)
            and one.connection is not None
            and self.driver.state(one.connection) is ConnectionState.UNUSABLE
            for one, began, *_ in leased
        )

    # For the wrappers of Django's connections

    def keep(self, lease: Lease[C], scope: Scope | None) -> bool:
        """Keep a lease that is not used right now for a unit of work; false if its own is over."""
        return self._core.run(self._state.keep_locked, lease, scope)

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
            self._core.run(state.serve_locked)
        return was_warm

    def end_scope(self, slot: Slot[C], scope: Scope) -> bool:
        """Give a slot of a unit of work back, now or when its use ends; true if it went now."""
        went, lease = self._core.run(self._state.end_scope_locked, slot, scope)
        if lease is not None:
            self.release(lease)
        return went

    def share(self, lease: Lease[C], *, is_shared: bool = True) -> None:
        """Outlive the owner's thread, because others use it too; or be the caller's alone again."""
        with self._lock:
            self._state.share_locked(lease, None if is_shared else here.owner)

    def count(self, counter: str, change: float = 1) -> None:
        """Change one of the ``Counters``."""
        counters = self._state.counters
        with self._lock:
            setattr(counters, counter, getattr(counters, counter) + change)

    # Steering

    def recycle(self) -> None:
        """Condemn every connection: idle ones are closed now, leased ones when they come back."""
        self._core.run(self._state.condemn_locked)
        self._tell("recycled")

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

    def warm(self, timeout: float = 30.0) -> int:
        """Open ``min_size`` connections now; returns how many are open, perhaps fewer.

        Raises what opening one does. ``timeout`` is in seconds, for all of them.
        """
        self._maintenance.warm(self._core.now() + timeout)
        return self.stats().size

    def wind_down(self) -> bool:
        """Open nothing more than there is; true, and closed, once no unit of work needs it.

        For the end of a process: what is in flight goes on with the connections that there are,
        and one may be opened if there is none. To be called until it is true.
        """
        stats = self.stats()
        if stats.leased or stats.warm or stats.waiting or stats.connecting:
            if stats.max_size is None or stats.max_size > max(stats.size, 1):
                self.resize(max(stats.size, 1), min_size=0)
            return False
        self.close()
        return True

    def suspend(self) -> None:
        """Hand nothing out until ``resume()``: acquires wait, within their deadlines."""
        self._core.run(self._state.set_status_locked, PoolStatus.SUSPENDED)
        self._tell("suspended")

    def resume(self) -> None:
        """Undo ``suspend()``."""
        self._core.run(self._state.set_status_locked, PoolStatus.OPEN)
        self._tell("resumed")

    def resize(self, max_size: int | str | None, *, min_size: int | str | None = None) -> None:
        """Change the bounds. Surplus connections are closed when idle, now or later.

        The rules of the options hold: ``ValueError``, and nothing is changed, for what may not
        stand there.
        """
        limits = self._state.limits.resized(max_size, min_size)
        self._core.run(self._state.resize_locked, limits)
        self._tell("resized")

    def close(self, *, linger: bool = True) -> None:
        """Refuse from now on: waiters fail, idle connections close, leased ones on return.

        Without ``linger`` no close waits for the server to let go of the connection.
        """
        self.is_closed = True
        self._core.connector.lingers = linger
        self._core.run(self._state.set_status_locked, PoolStatus.CLOSED)
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
        limits = self._state.limits
        if limits.idle_transaction and limits.reap_interval:
            return min(limits.reap_interval, limits.idle_transaction / LOOKS)
        return limits.reap_interval

    def has_lost(self) -> bool:
        """Whether leases ended without a release and no thread has seen to them yet."""
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

    def waiters(self, *, most: int | None = None, stacks: bool = False) -> list[WaiterRecord]:
        """Who waits at one moment, first come first, at most so many; with ``stacks``, where."""
        with self._lock:
            seen = waiters_locked(self._state, self._now(), most)
        if not stacks:
            return [record for record, _ in seen]
        return [replace(record, stack=stack_of(owner)) for record, owner in seen]

    def timings(self) -> Timings | None:
        """How long things took; ``None`` if this pool does not measure that."""
        if not isinstance(self._state, ObservedState):
            return None
        with self._lock:
            return self._state.timings_locked()

    @property
    def connect_error(self) -> Exception | None:
        """The last failed connect, until one succeeds."""
        return self._core.connector.error

    def count_leases(self) -> int:
        """How many connections are in use, or about to be, without the lock: for balancing."""
        state = self._state
        return max(0, len(state.slots) - len(state.cold) - len(state.warm))

    def __repr__(self) -> str:
        s = self.stats()
        return (
            f"<ConnectionPool {s.name!r} {s.status}: size={s.size}/{s.max_size} "
            f"connecting={s.connecting} idle={s.idle} leased={s.leased} "
            f"maintenance={s.maintenance} waiting={s.waiting}>"
        )
