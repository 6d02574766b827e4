"""Interleavings of two threads, or of a thread and an exception, that once went wrong."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import pytest

from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.slot import KEPT
from django_connmgr._pool.waiter import Waiter
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, Borrower, ScriptedLock, Worker, borrow, picture
from .sweep import Fault


def test_a_unit_that_ends_right_before_a_lease_is_kept_for_it_is_seen_after_it(
    make_pool: MakePool,
) -> None:
    pool, scope, went = make_pool(), Scope("GET /"), list[int]()
    lease = pool.acquire(scope=scope)  # A new connection, which has not rested yet.

    class Slots(dict[Any, Any]):
        def __setitem__(self, slot: Any, home: Any) -> None:
            went.append(Worker(scope.end).result())
            super().__setitem__(slot, home)

    scope.slots = Slots()
    slot: Any = lease.slot
    assert (pool.keep(lease, scope), slot.state is KEPT, went) == (False, False, [0])
    lease.release()


def test_a_shared_lease_that_was_kept_leaves_its_unit_when_a_waiter_gets_it(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool, before, after = make_pool(max_size=1), Scope("before"), Scope("after")
    lease = pool.acquire(scope=before)
    pool.share(lease)
    assert pool.keep(lease, before)
    assert pool.use(lease)
    waiting = Borrower(pool, scope=after, is_warm=True)
    clock.await_waiters()
    lease.release()
    waiting.release()
    assert (len(before.slots), after.end(), picture(pool)) == (0, 1, {"idle": 1})
    waiting.give_back()


@pytest.mark.parametrize("timeout", [-0.5, -1])
def test_a_deadline_that_has_passed_already_is_over_at_once(timeout: float) -> None:
    pool = ConnectionPool("test", FakeDriver(), Limits(max_size=1, reap_interval=0.0))
    lease = pool.acquire()

    def ask() -> None:
        with pytest.raises(PoolTimeout):
            pool.acquire(timeout=timeout)

    worker = Worker(ask)
    try:
        worker.result()
    finally:
        lease.release()
        pool.close()


def test_time_lost_on_the_way_to_the_queue_is_not_slept_again(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    deadline, overruns = clock.now() + 0.5, list[float]()

    def wait(_: object, timeout: float) -> None:
        overruns.append(round(clock.now() + timeout - deadline, 3))
        clock._now += timeout

    monkeypatch.setattr(clock, "wait", wait)
    ScriptedLock(pool, {1: lambda: clock.advance(0.4)})
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0.5)
    lease.release()
    assert max(overruns) <= 0


def test_what_grew_old_while_its_waiter_waited_is_checked(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(check_after=30, timeout=1e6)
    borrow(pool)
    pool.suspend()
    waiting = Borrower(pool)
    clock.await_waiters()
    clock.advance(100)
    pool.resume()
    waiting.await_served()
    assert driver.checks == 1
    waiting.give_back()


def test_what_upkeep_hands_to_a_waiter_is_as_old_as_it_was(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(check_after=30, timeout=1e6, max_size=1, max_idle=0)
    lease = pool.acquire()
    slot: Any = lease.slot
    lease.release()
    clock.advance(100)
    waiting: list[Borrower] = []
    watch = slot.watch

    def watch_and_let_wait() -> object:
        slot.watch = watch
        waiting.append(Borrower(pool))
        clock.await_waiters()
        return watch()

    slot.watch = watch_and_let_wait
    pool.maintain()
    waiting[0].await_served()
    assert driver.checks == 1
    waiting[0].give_back()


def test_a_report_that_rings_a_waiter_that_is_leaving_is_seen_to(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """The thread that hands over makes the pass: the waiter that was rung has gone its way."""
    pool = make_pool(max_size=2, timeout=1e6)
    lease, lost = pool.acquire(), [pool.acquire()]
    first = Borrower(pool)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()

    class Waiters(OrderedDict[Waiter, None]):
        def pop(self, waiter: Waiter, *default: Any) -> Any:
            if lost:
                waiter.ring()  # It wakes up by itself, sees that it was served, and goes.
                first.await_served()
                lost.clear()
            return super().pop(waiter, *default)

    pool._state.waiters = Waiters(pool._state.waiters)
    lease.release()
    second.await_served()
    first.give_back()
    second.give_back()


def test_a_checkout_that_is_interrupted_while_it_has_a_connection_closed_leaves_it_to_the_closer(
    make_pool: MakePool,
    clock: ManualClock,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = make_pool(check_after=30, timeout=1e6, max_size=1)
    borrow(pool)
    clock.advance(100)
    victim = driver.connections[0]
    victim.is_answering = False
    closers: list[str] = []
    is_closing, may_close = threading.Event(), threading.Event()

    def on_close(_: FakeConnection) -> None:
        closers.append(threading.current_thread().name)
        is_closing.set()
        assert may_close.wait(PATIENCE)

    driver.on_close = on_close
    retire, workers = pool._state.retire_locked, list[Worker]()

    def retire_and_strike(*args: Any) -> None:
        monkeypatch.undo()
        retire(*args)
        raise Fault  # Before the decision is taken out.

    def close_elsewhere() -> None:
        workers.append(Worker(pool._core.catch_up, "closer"))
        assert is_closing.wait(PATIENCE)

    monkeypatch.setattr(pool._state, "retire_locked", retire_and_strike)
    try:
        with pytest.raises(Fault):
            pool.acquire()
        close_elsewhere()
    finally:
        may_close.set()
    workers[0].result()
    assert (closers, picture(pool)) == (["closer"], {})
