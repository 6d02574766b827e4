"""Leases whose owners died or forgot them: they come back, and nothing is heard of them twice."""

from __future__ import annotations

import _thread
import gc
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.lost import Lost
from django_connmgr._pool.owner import Owner, here
from django_connmgr._pool.reaper import reaper
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.state import LOOK_AGAIN
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, Borrower, Pool, Worker, borrow, keep, picture


def die_holding(pool: Pool, state: ConnectionState = ConnectionState.IDLE) -> Any:
    """A lease whose thread has ended; the caller keeps it from being collected."""

    def take() -> object:
        lease = pool.acquire()
        lease.connection.state = state
        return lease

    return Worker(take, "doomed").result()


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_dead_thread_s_lease_is_taken_back(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = make_pool(max_size=1)
    lease = die_holding(pool)
    pool.maintain()
    assert (picture(pool), pool.stats().reaped, lease.is_held()) == ({"idle": 1}, 1, False)
    assert caplog.messages == [
        "Pool 'test': took back a connection that thread 'doomed' never released."
    ]


def test_a_dead_thread_s_lease_serves_the_next_acquire_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = die_holding(pool)
    pool.acquire(timeout=0).release()
    assert not lease.is_held()


def test_a_dead_thread_s_kept_lease_is_taken_back_too(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    def take() -> object:
        lease = pool.acquire()
        assert keep(pool, lease)
        return lease

    lease = Worker(take).result()
    pool.acquire(timeout=0).release()
    assert (lease.is_held(), pool.stats().reaped) == (False, 1)


def test_a_thread_that_dies_wakes_the_first_waiter(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    leases: list[object] = []
    taken, may_die = threading.Event(), threading.Event()

    def take_and_die() -> None:
        leases.append(pool.acquire())
        taken.set()
        assert may_die.wait(PATIENCE)

    doomed = Worker(take_and_die)
    assert taken.wait(PATIENCE)
    waiting = Borrower(pool)
    clock.await_waiters()
    may_die.set()
    waiting.give_back()
    doomed.join()


def test_its_transaction_is_rolled_back_before_another_owner_gets_the_connection(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    _keep = die_holding(pool, ConnectionState.IN_TRANSACTION)
    lease = pool.acquire()
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
    lease = pool.acquire()
    pool.recycle()
    del lease
    gc.collect()
    assert borrow(pool) is driver.connections[1]
    assert pool.stats().closed == {"recycled": 1}


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("how", ["cold", "new", "retaken", "waited for"])
def test_a_lease_that_is_dropped_is_taken_back_without_the_collector(
    make_pool: MakePool, clock: ManualClock, how: str
) -> None:
    """Nothing of the pool's keeps it alive, in whichever way it was served."""
    pool = make_pool(max_size=1)
    lease: Any = None
    if how == "new":
        lease = pool.acquire()
    elif how == "cold":
        borrow(pool)
        lease = pool.acquire()
    elif how == "retaken":
        lease = pool.acquire()
        slot = lease.slot
        lease.release(is_warm=True)
        lease = pool.retake(slot)
    else:
        other = Borrower(pool)
        other.await_served()
        helper = Worker(lambda: (clock.await_waiters(), other.give_back()))
        lease = pool.acquire()
        helper.result()
    assert not pool.has_lost()
    del lease
    assert pool.has_lost()
    pool.acquire(timeout=0).release()
    assert not pool.has_lost()
    assert (picture(pool), pool.stats().reaped) == ({"idle": 1}, 1)


def test_a_lease_in_a_cycle_is_taken_back_when_the_collector_finds_it(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    cycle: list[object] = [pool.acquire()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    pool.acquire(timeout=0).release()


@pytest.mark.usefixtures("collector_off")
def test_without_a_collector_a_thread_that_dies_gives_back_even_what_is_in_a_cycle(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_size=1)

    def take() -> None:
        cycle: list[object] = [pool.acquire()]
        cycle.append(cycle)

    Worker(take).result()
    pool.acquire(timeout=0).release()


def test_a_thread_that_python_did_not_start_gives_back_too(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    leases: list[Any] = []
    taken, may_die = threading.Event(), threading.Event()

    def take() -> None:
        leases.append(pool.acquire())
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
    assert not leases[0].is_held()


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_thread_that_python_did_not_start_is_dead_when_it_cannot_answer(
    error: type[Exception],
) -> None:
    """So do greenlets and threads of C code after their end: 3.13 raises, 3.11 asserts."""

    class Gone:
        def is_alive(self) -> bool:
            raise error("thread is not alive")

    owner = Owner()
    owner._thread = Gone  # type: ignore[assignment]
    assert not owner.is_alive()


@pytest.fixture
def silent(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Pool, Any]]:
    """A full pool, and the lease of a thread that died without telling."""
    pool = make_pool(max_size=1)
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "die", lambda owner: None)
        doomed = Worker(pool.acquire)
        lease = doomed.result()
    assert (pool.has_lost(), picture(pool)) == (False, {"leased": 1})
    yield pool, lease
    assert (lease.is_held(), pool.stats().reaped) == (False, 1)


def test_a_thread_whose_last_words_were_lost_is_found_dead_by_the_first_waiter(
    silent: tuple[Pool, Any], clock: ManualClock
) -> None:
    waiting = Borrower(silent[0])
    clock.await_waiters()
    clock.advance(LOOK_AGAIN)
    waiting.give_back()


def test_a_thread_whose_last_words_were_lost_is_found_dead_by_a_timeout(
    silent: tuple[Pool, Any],
) -> None:
    try:
        silent[0].acquire(timeout=0).release()
    except PoolTimeout:
        pass  # Too late for this one, but not for the next.
    silent[0].acquire(timeout=0).release()


def test_upkeep_finds_what_no_finaliser_has_told(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler that raises inside a finaliser ends it, and Python carries on."""
    pool = make_pool(max_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(Lost, "report", lambda *args: None)
        lease = pool.acquire()
        doomed = Worker(pool.acquire)
        keep = doomed.result()
        del lease
        gc.collect()
    assert (pool.has_lost(), picture(pool)) == (False, {"leased": 2})
    pool.maintain()
    assert (picture(pool), pool.stats().reaped, keep.is_held()) == ({"idle": 2}, 2, False)


def test_the_reaper_is_told_of_a_dropped_lease_if_nobody_waits_for_it(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudges: list[str] = []
    monkeypatch.setattr(reaper, "nudge", lambda: nudges.append("nudge"))
    pool = make_pool(max_size=1)
    borrow(pool)
    leases = [pool.acquire()]
    waiting = Borrower(pool)
    clock.await_waiters()
    leases.clear()
    waiting.give_back()
    assert nudges == []
    leases.append(pool.acquire())
    leases.clear()
    assert nudges == ["nudge"]
    pool.maintain()


@pytest.mark.parametrize("was_forgotten", [True, False])
def test_late_news_of_a_lease_do_not_touch_the_next_one(
    make_pool: MakePool, was_forgotten: bool
) -> None:
    """An entry counts only if the slot still belongs to the witness that it names."""
    pool = make_pool(max_size=1)
    old = pool.acquire()
    slot: Any = old.slot
    witness = slot.lease
    old.release(is_warm=True)
    new = pool.acquire()
    pool._state.lost.report(slot, witness, was_forgotten=was_forgotten)
    pool.maintain()
    assert (picture(pool), new.is_held(), pool.stats().reaped) == ({"leased": 1}, True, 0)
    new.release()


def test_news_that_come_twice_count_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = die_holding(pool)
    pool._state.lost.report(lease.slot, lease.slot.lease)
    pool._state.lost.report(lease.slot, lease.slot.owner)
    pool.maintain()
    assert (picture(pool), pool.stats().reaped) == ({"idle": 1}, 1)


def test_late_news_of_an_owner_do_not_touch_the_next_one(make_pool: MakePool) -> None:
    """Its warm connection was another's by the time that it died."""
    pool = make_pool(max_size=1)
    doomed = Borrower(pool, is_warm=True)
    doomed.release()
    mine = pool.acquire()
    slot: Any = mine.slot
    doomed.give_back()
    pool._state.lost.report(slot, Owner())
    pool.maintain()
    assert (picture(pool), mine.is_held(), slot.owner is here.owner) == ({"leased": 1}, True, True)
    mine.release()


def test_a_finaliser_may_run_while_its_own_thread_has_the_lock(make_pool: MakePool) -> None:
    """The collector strikes anywhere, so reporting must not wait for the lock."""
    pool = make_pool(max_size=1)
    borrow(pool)
    lease = [pool.acquire()]
    with pool._lock:
        lease.clear()
        assert pool.has_lost()
    pool.acquire(timeout=0).release()


def test_a_thread_may_die_while_another_has_the_lock(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    taken, may_die = threading.Event(), threading.Event()
    leases: list[object] = []

    def take_and_die() -> None:
        leases.append(pool.acquire())
        taken.set()
        assert may_die.wait(PATIENCE)

    doomed = Worker(take_and_die)
    assert taken.wait(PATIENCE)
    with pool._lock:
        may_die.set()
        doomed.join()
    pool.acquire(timeout=0).release()


# The finaliser of a last cursor: the use of a lease ends, and nobody lost it.


def test_a_use_that_a_finaliser_ended_is_a_release(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    slot: Any = lease.slot
    clock.advance(3)
    slot.lost.report(slot, slot.lease, was_forgotten=False)
    pool.maintain()
    stats = pool.stats()
    assert (picture(pool), stats.reaped, stats.hold_seconds) == ({"idle": 1}, 0, 3.0)
    assert (lease.is_held(), caplog.messages) == (False, [])


def test_what_it_left_is_cleaned_before_the_next_use(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    slot: Any = lease.slot
    lease.connection.state = ConnectionState.IN_TRANSACTION
    slot.lost.report(slot, slot.lease, was_forgotten=False)
    assert pool.retake(slot) is None
    again = pool.acquire()
    assert (again.connection.state, again.connection.rollbacks) == (ConnectionState.IDLE, 1)
    again.release()


# Shared


def test_a_shared_lease_outlives_the_thread_that_took_it(make_pool: MakePool) -> None:
    pool = make_pool()

    def take() -> object:
        lease = pool.acquire()
        pool.share(lease)
        pool.share(lease)
        return lease

    lease = Worker(take).result()
    pool.maintain()
    assert picture(pool) == {"leased": 1}
    assert lease.is_held()
    lease.release()
    assert picture(pool) == {"idle": 1}


def test_a_lease_that_is_shared_no_more_is_its_owner_s(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    def take() -> object:
        lease = pool.acquire()
        pool.share(lease)
        pool.share(lease, is_shared=False)
        return lease

    lease = Worker(take).result()
    pool.acquire(timeout=0).release()
    assert not lease.is_held()


def test_a_shared_lease_that_goes_to_a_waiter_goes_with_the_waiters_unit_of_work(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """Though it rested in another unit before."""
    pool, before, after = make_pool(max_size=1), Scope("before"), Scope("after")
    pool.acquire(scope=before).release(is_warm=True)
    lease = pool.retake(next(iter(before.slots)))
    assert lease is not None
    pool.share(lease)
    waiting = Borrower(pool, scope=after, is_warm=True)
    clock.await_waiters()
    lease.release()
    waiting.release()
    assert (len(before.slots), len(after.slots)) == (0, 1)
    waiting.give_back()


def test_a_shared_lease_that_is_dropped_was_nobody_s(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = make_pool()
    lease = pool.acquire()
    pool.share(lease)
    del lease
    gc.collect()
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    assert caplog.messages == [
        "Pool 'test': took back a connection that thread 'shared by several' never released."
    ]


@pytest.mark.parametrize("is_warm", [False, True])
def test_a_thread_that_dies_after_releasing_has_lost_nothing(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, is_warm: bool
) -> None:
    pool = make_pool()
    Worker(lambda: borrow(pool, is_warm=is_warm)).result()
    assert pool.has_lost() is is_warm  # For its warm one is nobody's from here on.
    pool.maintain()
    assert (picture(pool), pool.stats().reaped, caplog.messages) == ({"idle": 1}, 0, [])
