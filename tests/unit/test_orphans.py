from __future__ import annotations

import _thread
import gc
import logging
import threading

import pytest

from django_connmgr import PoolError
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.owner import Owner
from django_connmgr._pool.reaper import reaper
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, Borrower, Pool, Worker, borrow, picture

LOST = (
    "This lease was lost: its thread ended, the process forked, or the pool took it back. "
    "Check out another."
)


def die_holding(pool: Pool, state: ConnectionState = ConnectionState.IDLE) -> object:
    """A lease whose thread has ended; whoever has it keeps it from being collected."""

    def take() -> object:
        lease = pool.checkout()
        lease.connection.state = state
        return lease

    return Worker(take, "doomed").result()


@pytest.fixture
def collector_off() -> object:
    gc.disable()
    yield
    gc.enable()


def test_a_dead_thread_s_lease_is_taken_back(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = make_pool(max_size=1)
    lease = die_holding(pool)
    assert picture(pool) == {"idle": 1}
    assert pool.stats().reaped == 1
    assert caplog.messages == [
        "Pool 'test': took back a connection that thread 'doomed' never released."
    ]
    with pytest.raises(PoolError) as caught:
        lease.release()  # type: ignore[attr-defined]
    assert str(caught.value) == LOST


def test_a_dead_thread_s_lease_serves_the_next_checkout_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = die_holding(pool)
    pool.checkout(timeout=0).release()
    assert not lease.is_held()  # type: ignore[attr-defined]


def test_a_thread_that_dies_wakes_whoever_waits(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    leases: list[object] = []
    taken, may_die = threading.Event(), threading.Event()

    def take_and_die() -> None:
        leases.append(pool.checkout())
        taken.set()
        assert may_die.wait(PATIENCE)

    doomed = Worker(take_and_die)
    assert taken.wait(PATIENCE)
    waiting = Borrower(pool)
    clock.await_waiters()
    may_die.set()
    waiting.give_back()
    doomed.join()


def test_its_transaction_is_rolled_back_before_somebody_else_gets_the_connection(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    _keep = die_holding(pool, ConnectionState.IN_TRANSACTION)
    lease = pool.checkout()
    connection = lease.connection
    assert (connection.state, connection.rollbacks) == (ConnectionState.IDLE, 1)
    assert driver.resets == 1
    lease.release()


def test_a_connection_that_died_with_its_thread_is_replaced(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    _keep = die_holding(pool, ConnectionState.UNUSABLE)
    assert borrow(pool) is driver.connections[1]
    assert (driver.most_open, pool.stats().closed) == (1, {"unusable": 1})


def test_a_reaped_connection_that_was_condemned_meanwhile_is_not_handed_out(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    pool.recycle()
    del lease
    assert borrow(pool) is driver.connections[1]
    assert pool.stats().closed == {"recycled": 1}


def test_a_lease_that_is_dropped_is_taken_back(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    del lease
    assert pool.has_orphans()
    assert picture(pool) == {"idle": 1}
    assert not pool.has_orphans()
    pool.checkout(timeout=0).release()


def test_a_lease_in_a_cycle_is_taken_back_when_the_collector_finds_it(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    cycle: list[object] = [pool.checkout()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    pool.checkout(timeout=0).release()


@pytest.mark.usefixtures("collector_off")
def test_without_a_collector_a_thread_that_dies_gives_back_even_what_is_in_a_cycle(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_size=1)

    def take() -> None:
        cycle: list[object] = [pool.checkout()]
        cycle.append(cycle)

    Worker(take).result()
    pool.checkout(timeout=0).release()


def test_a_thread_that_python_did_not_start_gives_back_too(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    leases: list[object] = []
    taken, may_die = threading.Event(), threading.Event()

    def take() -> None:
        leases.append(pool.checkout())
        taken.set()
        assert may_die.wait(PATIENCE)

    ident = _thread.start_new_thread(take, ())
    assert taken.wait(PATIENCE)
    waiting = Borrower(pool)
    clock.await_waiters()
    may_die.set()
    waiting.give_back()
    # Before Python 3.13 ``threading`` believes in such a thread for ever.
    threading._active.pop(ident, None)  # type: ignore[attr-defined]
    assert not leases[0].is_held()  # type: ignore[attr-defined]


def test_a_thread_whose_last_words_were_lost_is_found_dead_by_whoever_needs_a_slot(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "die", lambda owner: None)
        leases: list[object] = []
        thread = Worker(lambda: leases.append(pool.checkout()))
        thread.join()
    assert not pool.has_orphans()
    pool.checkout(timeout=0).release()
    assert not leases[0].is_held()  # type: ignore[attr-defined]


def test_a_lease_whose_finaliser_was_cut_short_is_found_by_whoever_needs_a_slot(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler that raises inside ``__del__`` ends it, and Python carries on."""
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "report_orphan", lambda slot, lease_id: None)
        del lease
    assert not pool.has_orphans()
    pool.checkout(timeout=0).release()


def test_the_reaper_is_told_of_a_dropped_lease_if_nobody_waits_for_it(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudges: list[str] = []
    monkeypatch.setattr(reaper, "nudge", lambda: nudges.append("nudge"))
    pool = make_pool(max_size=1)
    leases = [pool.checkout()]
    waiting = Borrower(pool)
    clock.await_waiters()
    leases.clear()
    waiting.give_back()
    assert nudges == []
    leases.append(pool.checkout())
    leases.clear()
    assert nudges == ["nudge"]


def test_late_news_of_a_lease_do_not_touch_the_next_one(make_pool: MakePool) -> None:
    """What the news are about is told by the number of the lease, and no number comes twice."""
    pool = make_pool(max_size=1)
    old = pool.checkout()
    slot, number = old.slot, old.id
    old.release()
    new = pool.checkout()
    pool.report_orphan(slot, number)
    assert picture(pool) == {"leased": 1}
    assert new.is_held()
    new.release()


def test_a_finaliser_may_run_while_its_own_thread_has_the_lock(make_pool: MakePool) -> None:
    """The collector strikes anywhere, so reporting must not wait for the lock."""
    pool = make_pool(max_size=1)
    lease = [pool.checkout()]
    with pool._lock:
        lease.clear()
        Worker(lambda: None).join()
    assert picture(pool) == {"idle": 1}


def test_a_thread_may_die_while_somebody_has_the_lock(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    taken, may_die = threading.Event(), threading.Event()
    leases: list[object] = []

    def take_and_die() -> None:
        leases.append(pool.checkout())
        taken.set()
        assert may_die.wait(PATIENCE)

    doomed = Worker(take_and_die)
    assert taken.wait(PATIENCE)
    with pool._lock:
        may_die.set()
        doomed.join()
    assert picture(pool) == {"idle": 1}


def test_a_shared_lease_outlives_the_thread_that_took_it(make_pool: MakePool) -> None:
    pool = make_pool()

    def take() -> object:
        lease = pool.checkout()
        lease.share()
        lease.share()
        return lease

    lease = Worker(take).result()
    assert picture(pool) == {"leased": 1}
    assert lease.is_held()
    lease.release()
    assert picture(pool) == {"idle": 1}


def test_a_shared_lease_that_is_dropped_was_nobody_s(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = make_pool()
    lease = pool.checkout()
    lease.share()
    del lease
    assert picture(pool) == {"idle": 1}
    assert caplog.messages == [
        "Pool 'test': took back a connection that thread 'shared by several' never released."
    ]


def test_a_thread_that_dies_after_releasing_is_not_reported(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    Worker(lambda: borrow(pool)).result()
    assert not pool.has_orphans()
    assert (pool.stats().reaped, caplog.messages) == (0, [])
