"""What is left when an exception strikes from outside: ``KeyboardInterrupt``, a killed greenlet."""

from __future__ import annotations

import gc
import inspect
import itertools
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolTimeout, TooManyRequests
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.owner import here
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.state import PoolState
from django_connmgr._pool.waiter import Waiter
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock, ServerFull
from django_connmgr.units.unit import Unit

from .conftest import MakePool
from .helpers import (
    Borrower,
    Pool,
    ScriptedClock,
    ScriptedLock,
    Worker,
    borrow,
    fill,
    keep,
    picture,
)
from .sweep import Fault, Injector, Scenario, World, strike, sweep


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def interrupt_in_the_middle(connection: FakeConnection) -> None:
    """As a driver is left whose query was cut short."""
    connection.state = ConnectionState.UNUSABLE
    raise KeyboardInterrupt


def interrupted(function: object, *args: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        function(*args)  # type: ignore[operator]
    gc.collect()


def test_while_connecting(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_connect = interrupt
    interrupted(pool.acquire)
    assert picture(pool) == {}
    driver.on_connect = lambda: None
    pool.acquire(timeout=0).release()


def test_while_connecting_the_next_in_line_connects(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    waiting: list[Borrower] = []

    def let_another_come() -> None:
        driver.on_connect = lambda: None
        waiting.append(Borrower(pool))
        clock.await_waiters()
        raise KeyboardInterrupt

    driver.on_connect = let_another_come
    interrupted(pool.acquire)
    waiting[0].give_back()


def test_while_waiting(driver: FakeDriver) -> None:
    clock = ScriptedClock()
    pool = ConnectionPool("test", driver, Limits(max_size=1, reap_interval=0), clock=clock)
    lease = pool.acquire()
    clock.script = [interrupt]
    interrupted(pool.acquire)
    assert picture(pool) == {"leased": 1}
    lease.release()
    pool.acquire(timeout=0).release()


def test_while_waiting_at_the_moment_of_being_served(driver: FakeDriver) -> None:
    clock = ScriptedClock()
    pool = ConnectionPool("test", driver, Limits(max_size=1, reap_interval=0), clock=clock)
    lease = pool.acquire()

    def serve_and_interrupt() -> None:
        lease.release()
        raise KeyboardInterrupt

    clock.script = [serve_and_interrupt]
    interrupted(pool.acquire)
    assert picture(pool) == {"idle": 1}


def test_twice_while_waiting_leaves_a_ghost_that_hands_its_slot_on(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """Interrupted again on its way out, a waiter stays in line: its turn must not be lost."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    wait = clock.wait
    clock.wait = interrupt  # type: ignore[method-assign]
    # Takings of the lock: into the line, out of the line.
    ScriptedLock(pool, {2: interrupt})
    interrupted(pool.acquire)
    clock.wait = wait  # type: ignore[method-assign]
    assert picture(pool) == {"leased": 1, "waiting": 1}
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release()
    waiting.give_back()
    assert picture(pool) == {"idle": 1}


def test_a_ghost_does_not_keep_a_newcomer_from_what_is_idle(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    wait = clock.wait
    clock.wait = interrupt  # type: ignore[method-assign]
    ScriptedLock(pool, {2: interrupt})
    interrupted(pool.acquire)
    clock.wait = wait  # type: ignore[method-assign]
    lease.release()
    pool.acquire(timeout=0).release()
    assert picture(pool) == {"idle": 1}


def test_during_the_rollback_of_a_release(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_rollback = interrupt_in_the_middle
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    interrupted(lease.release)
    assert picture(pool) == {"idle": 1}  # Nobody can say how far that came,
    assert borrow(pool) is driver.connections[1]  # so nobody gets to use it.
    assert (driver.most_open, lease.is_held()) == (1, False)


def test_during_a_check(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1, check_after=0)
    pool.acquire().release()
    driver.connections[0].is_quiet = False
    driver.on_check = interrupt_in_the_middle
    interrupted(pool.acquire)
    assert picture(pool) == {}
    assert pool.stats().closed == {"unusable": 1}
    assert borrow(pool) is driver.connections[1]


def test_during_a_reset(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_reset = interrupt
    lease = pool.acquire()
    interrupted(lease.release)
    driver.on_reset = lambda connection: None
    lease.release()
    assert (picture(pool), driver.resets) == ({"idle": 1}, 1)


def test_while_closing_one_of_many_the_others_keep_their_places_until_they_are_closed(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Otherwise the server would count more connections than ``max_size``."""
    pool = make_pool(max_size=3)
    leases = [pool.acquire() for _ in range(3)]
    for lease in leases:
        lease.release()
    driver.on_close = interrupt
    interrupted(pool.recycle)
    driver.on_close = lambda connection: None
    leases = [pool.acquire() for _ in range(3)]
    assert driver.most_open == 3
    for lease in leases:
        assert lease.slot.generation == 2
        lease.release()


def test_after_a_connection_was_closed_nobody_gets_it(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Interrupted between the closing and the book-keeping, its place still comes back."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    close = driver.close

    def close_and_interrupt(*args: object, **kwargs: object) -> None:
        close(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    driver.close = close_and_interrupt  # type: ignore[method-assign]
    interrupted(lease.discard)
    driver.close = close  # type: ignore[method-assign]
    del lease
    fresh = pool.acquire()
    assert fresh.connection is driver.connections[1]
    assert driver.open() == [fresh.connection]
    fresh.release()


def test_while_ringing_delays_those_who_were_served_by_no_more_than_their_own_look(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    with monkeypatch.context() as patch:
        patch.setattr(Waiter, "ring", interrupt)
        interrupted(lease.release)
    clock.advance(1)
    waiting.give_back()


def test_at_the_birth_of_what_has_a_finaliser() -> None:
    """The finaliser runs on an object whose ``__init__`` did not."""
    from django_connmgr._pool.owner import _ThreadExit

    unborn = _ThreadExit.__new__(_ThreadExit)
    del unborn  # Errors in finalisers are warnings, and those are errors.


# At every bytecode


def cold(world: World) -> Callable[[], object]:
    fill(world.pool, 1)
    return lambda: world.pool.acquire(timeout=0)


def new(world: World) -> Callable[[], object]:
    return lambda: world.pool.acquire(timeout=0, scope=world.scope)


def own_warm(world: World) -> Callable[[], object]:
    borrow(world.pool, is_warm=True, scope=world.scope)
    return lambda: world.pool.acquire(timeout=0, scope=world.scope)


def another_s_warm(world: World) -> Callable[[], object]:
    leases = [world.pool.acquire(scope=world.scope), world.pool.acquire()]
    slot = leases[0].slot
    leases[0].release(is_warm=True)
    other = world.give_to_another(slot)
    return lambda: (world.pool.acquire(timeout=0), other)[0]


def waiting(world: World) -> Callable[[], object]:
    """For a release on another thread, which comes as soon as it sleeps."""
    leases = [world.pool.acquire(), world.pool.acquire()]

    def release() -> None:
        world.clock.await_waiters()
        leases.pop().release()

    def action() -> object:
        helper = Worker(release)
        try:
            return world.pool.acquire(scope=world.scope)
        finally:
            world.clock._arrivals.release()  # If it never came so far as to sleep.
            helper.join()
            leases.clear()

    return action


def out_of_time(world: World) -> Callable[[], object]:
    leases = [world.pool.acquire(), world.pool.acquire()]

    def action() -> None:
        try:
            world.pool.acquire(timeout=0)
        except PoolTimeout:
            pass
        finally:
            leases.clear()

    return action


def refused(world: World) -> Callable[[], object]:
    leases = [world.pool.acquire(), world.pool.acquire()]
    world.let_wait()

    def action() -> None:
        try:
            world.pool.acquire(timeout=0)
        except TooManyRequests:
            pass
        finally:
            leases.clear()

    return action


def dead(world: World) -> Callable[[], object]:
    """The check fails, the generation is condemned, another is opened."""
    for connection in fill(world.pool, 2):
        connection.kill()
    return lambda: world.pool.acquire(timeout=1)


def doubtful(world: World) -> Callable[[], object]:
    """The check finds that it works."""
    fill(world.pool, 1)[0].is_quiet = False
    return lambda: world.pool.acquire(timeout=1)


def dirty(world: World) -> Callable[[], object]:
    """Left by a lease that was lost, with its transaction open."""
    lease = world.pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    del lease
    gc.collect(0)
    return lambda: world.pool.acquire(timeout=0)


def no_connect(world: World) -> Callable[[], object]:
    def fail() -> None:
        world.driver.on_connect = lambda: None
        raise OSError("no route")

    def action() -> None:
        world.driver.on_connect = fail
        try:
            world.pool.acquire(timeout=0)
        except OSError:
            pass
        finally:
            world.driver.on_connect = lambda: None

    return action


def full_server(world: World) -> Callable[[], object]:
    """It waits for the other connection, and is out of time."""
    leases = [world.pool.acquire()]

    def refuse() -> None:
        raise ServerFull

    def action() -> None:
        world.driver.on_connect = refuse
        try:
            world.pool.acquire(timeout=0)
        except PoolTimeout:
            pass
        finally:
            world.driver.on_connect = lambda: None
            leases.clear()

    return action


def retake(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    slot: Any = lease.slot
    lease.release(is_warm=True)
    return lambda: world.pool.retake(slot)


def retake_dead(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    slot: Any = lease.slot
    lease.connection.kill()
    lease.release(is_warm=True)
    return lambda: world.pool.retake(slot)


def release(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    return lease.release


def release_warm(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    return lambda: lease.release(is_warm=True)


def release_dirty(world: World) -> Callable[[], object]:
    lease = world.pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    return lambda: lease.release(is_warm=True)


def release_broken(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    lease.connection.state = ConnectionState.UNUSABLE
    return lease.release


def release_old(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    world.pool.recycle()
    return lease.release


def hand_over(world: World) -> Callable[[], object]:
    leases = [world.pool.acquire(scope=world.scope), world.pool.acquire()]
    world.let_wait(scope=world.scope)

    def action() -> None:
        try:
            leases[0].release(is_warm=True)
        finally:
            leases.clear()

    return action


def hand_over_two(world: World) -> Callable[[], object]:
    """With a waiter behind the one that is served."""
    leases = [world.pool.acquire(), world.pool.acquire()]
    world.let_wait()
    world.let_wait()

    def action() -> None:
        try:
            leases[0].release()
            leases[1].discard()
        finally:
            leases.clear()

    return action


def discard(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    return lease.discard


def keep_and_use(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)

    def action() -> None:
        keep(world.pool, lease)
        world.pool.use(lease)
        world.pool.share(lease)
        world.pool.share(lease, is_shared=False)
        world.pool.rest(lease, lease.slot)

    return action


def cool(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)
    slot: Any = lease.slot
    lease.release(is_warm=True)
    return lambda: world.pool.cool(slot)


def end_of_unit(world: World) -> Callable[[], object]:
    """With a warm one and a kept one."""
    kept, warm = world.pool.acquire(scope=world.scope), world.pool.acquire(scope=world.scope)
    kept.connection.state = ConnectionState.IN_TRANSACTION
    warm.release(is_warm=True)
    keep(world.pool, kept)

    def action() -> object:
        try:
            return world.scope.end()
        finally:
            # Its unit is still there to be ended again, as the finaliser of a ``Unit`` would.
            end_again.append(kept)

    end_again: list[object] = []
    return action


def eager_unit(world: World) -> Callable[[], object]:
    """While its connection is in use, which is handed over at the end of that."""
    lease = world.pool.acquire(scope=world.scope)

    def action() -> None:
        world.scope.become_eager()
        lease.release(is_warm=True)

    return action


def collected_unit(world: World) -> Callable[[], object]:
    units = [Unit("GET /")]
    kept, warm = world.pool.acquire(scope=units[0].scope), world.pool.acquire(scope=units[0].scope)
    warm.release(is_warm=True)
    keep(world.pool, kept)

    def action() -> None:
        units.clear()
        world.pool.maintain()

    return action


def dropped(world: World) -> Callable[[], object]:
    fill(world.pool, 2)
    leases = [world.pool.acquire(scope=world.scope), world.pool.acquire()]
    world.let_wait()
    return leases.clear


def dead_thread(world: World) -> Callable[[], object]:
    leases = [world.pool.acquire(scope=world.scope), world.pool.acquire()]
    slot = leases[0].slot
    leases[0].release(is_warm=True)
    owner = world.give_to_another(slot)
    leases.pop()

    def action() -> None:
        owner.die()
        world.pool.acquire(timeout=0)

    return action


def recycle(world: World) -> Callable[[], object]:
    lease = world.pool.acquire()
    borrow(world.pool, is_warm=True, scope=world.scope)

    def action() -> None:
        world.pool.recycle()
        lease.release()

    return action


def drain(world: World) -> Callable[[], object]:
    fill(world.pool, 2)
    return lambda: world.pool.drain(timeout=0)


def suspend(world: World) -> Callable[[], object]:
    borrow(world.pool, is_warm=True, scope=world.scope)

    def action() -> None:
        world.pool.suspend()
        world.pool.resume()

    return action


def resize(world: World) -> Callable[[], object]:
    lease = world.pool.acquire()
    borrow(world.pool, is_warm=True, scope=world.scope)

    def action() -> None:
        world.pool.resize(1)
        lease.release()
        world.pool.resize(2)

    return action


def maintain(world: World) -> Callable[[], object]:
    """Close one for its idleness, keep one alive, clean one that was lost, open one."""
    fill(world.pool, 2)
    world.clock.advance(60)
    lease = world.pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    del lease
    gc.collect(0)
    world.clock.advance(50)
    return world.pool.maintain


def maintain_old(world: World) -> Callable[[], object]:
    fill(world.pool, 2)
    world.clock.advance(1000)
    return world.pool.maintain


def kill(world: World) -> Callable[[], object]:
    """End a lease that its owner still has."""
    lease = world.pool.acquire(scope=world.scope)
    (record,) = world.pool.leases()

    def action() -> None:
        assert world.pool.kill(record.slot, record.since)
        world.pool.release(lease)

    return action


def warm(world: World) -> Callable[[], object]:
    return world.pool.warm


def sit(world: World) -> Callable[[], object]:
    """A transaction that sits idle is told of, and comes back."""
    lease = world.pool.acquire(scope=world.scope)
    lease.connection.state = ConnectionState.IN_TRANSACTION
    world.pool.maintain()
    world.clock.advance(50)

    def action() -> None:
        world.pool.maintain()
        lease.connection.state = ConnectionState.IDLE
        lease.release()

    return action


def close(world: World) -> Callable[[], object]:
    lease = world.pool.acquire()
    borrow(world.pool, is_warm=True, scope=world.scope)

    def action() -> None:
        world.pool.close()
        lease.release()

    return action


def look(world: World) -> Callable[[], object]:
    lease = world.pool.acquire(scope=world.scope)

    def action() -> None:
        world.pool.stats()
        world.pool.leases(stacks=True)
        repr(world.pool)
        lease.release()

    return action


SWEEPS: list[tuple[Scenario, dict[str, Any]]] = [
    *(
        (scenario, {})
        for scenario in (
            cold,
            new,
            own_warm,
            another_s_warm,
            waiting,
            out_of_time,
            dead,
            doubtful,
            dirty,
            no_connect,
            full_server,
            retake,
            retake_dead,
            release,
            release_warm,
            release_dirty,
            release_broken,
            release_old,
            hand_over,
            hand_over_two,
            discard,
            keep_and_use,
            cool,
            end_of_unit,
            eager_unit,
            collected_unit,
            dropped,
            dead_thread,
            recycle,
            drain,
            suspend,
            resize,
            close,
            kill,
            look,
        )
    ),
    (warm, {"min_size": 2}),
    (sit, {"idle_transaction": 10.0, "leak_threshold": 10.0}),
    (new, {"slow_acquire": 0.0001}),
    *(
        (scenario, {"is_observed": True})
        for scenario in (cold, new, waiting, out_of_time, release, release_warm, hand_over, discard)
    ),
    (refused, {"max_waiting": 1}),
    (new, {"leak_threshold": 1.0}),
    (maintain, {"max_idle": 100, "keepalive": 5, "min_size": 1, "leak_threshold": 1.0}),
    (maintain_old, {"max_idle": 0, "max_lifetime": 500, "min_size": 1}),
]


@pytest.mark.parametrize(
    ("scenario", "limits"), SWEEPS, ids=[scenario.__name__ for scenario, _ in SWEEPS]
)
def test_after_an_exception_at_any_bytecode_the_pool_is_whole(
    scenario: Scenario, limits: dict[str, Any]
) -> None:
    """Every slot comes back, whatever happens to whom at which point.

    In a thread of its own: when a tracer raises inside an ``except`` clause, CPython goes on
    handling the first exception for as long as the thread lives, and keeps its frames.
    """
    assert Worker(lambda: sweep(scenario, **limits)).result() > 10


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_pool_of_one_survives_a_storm_of_signals() -> None:
    """Handlers raise wherever Python runs them: one slot lost and nobody would get any.

    In a process of its own, because they also raise inside of whatever else runs there.
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.unit.storm"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


# What came after an exception that struck once


def strike_before(code: CodeType, text: str) -> Callable[[FrameType, str, Any], Any]:
    """A tracer that raises before a function's line with ``text``, once."""
    lines, first = inspect.getsourcelines(code)
    number = next(first + index for index, line in enumerate(lines) if text in line)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not code:
            return None
        if event == "line" and frame.f_lineno == number:
            sys.settrace(None)
            raise Fault
        return trace

    return trace


def struck(function: Any, text: str, action: Callable[[], object]) -> None:
    previous = sys.gettrace()
    sys.settrace(strike_before(function.__code__, text))
    try:
        with pytest.raises(Fault):
            action()
    finally:
        sys.settrace(previous)


def test_a_connection_that_was_being_ended_when_an_exception_struck_is_no_other_owner_s(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    connection = lease.connection
    (record,) = pool.leases()
    struck(ConnectionPool.kill, "connection: Any", lambda: pool.kill(record.slot, record.since))
    gc.collect()
    other = pool.acquire()
    assert other.connection is not connection
    other.release()


def test_a_lease_that_was_being_kept_when_an_exception_struck_can_be_kept_again(
    make_pool: MakePool,
) -> None:
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    struck(PoolState._enter_locked, "if scope is not None:", lambda: pool.keep(lease, scope))
    assert pool.use(lease)
    assert pool.keep(lease, scope)
    assert (scope.end(), lease.is_held()) == (1, False)


@pytest.mark.parametrize("how", ["cool", "end", "suspend"])
def test_a_slot_that_was_being_cooled_when_an_exception_struck_goes_with_its_next_unit(
    how: str,
) -> None:
    for number in itertools.count():
        world, after = World(max_size=1), Scope("after")
        pool: Pool = world.pool
        lease = pool.acquire(scope=world.scope)
        slot: Any = lease.slot
        lease.release(is_warm=True)
        ways = {"cool": partial(pool.cool, slot), "end": world.scope.end, "suspend": pool.suspend}
        injector = Injector(number)
        strike(injector, ways[how])
        pool.resume()
        other = Borrower(pool, scope=after, is_warm=True)
        other.release()
        assert slot.owner is None or slot in after.slots, injector.place
        other.give_back()
        here.owner.held.clear()  # What is left over does not count, but takes time.
        if not injector.is_reached:
            break


def test_an_interrupted_growth_does_not_let_the_next_waiter_grow_too(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """The place counts from the moment that it is in the table, noted or not."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    struck(PoolState.reserve_locked, "self._note_locked()", lease.discard)
    del lease
    newcomer = Borrower(pool)  # Its pass completes what was promised to the other.
    waiting.await_served()
    clock.await_waiters()
    waiting.give_back()
    newcomer.give_back()
    assert driver.most_open == 1
