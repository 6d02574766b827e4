from __future__ import annotations

import pytest

from django_connmgr import PoolClosed, PoolTimeout
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Worker, borrow, picture
from .test_staleness import fill


def test_recycle_closes_idle_connections_now_and_leased_ones_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    fill(pool, 2)
    pool.recycle()
    assert picture(pool) == {"leased": 1}
    assert driver.open() == [lease.connection]
    lease.release()
    assert (picture(pool), driver.open()) == ({}, [])
    stats = pool.stats()
    assert (stats.generation, stats.closed) == (2, {"recycled": 3})


def test_after_recycle_checkouts_get_new_connections(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    (old,) = fill(pool, 1)
    pool.recycle()
    assert borrow(pool) is not old
    assert picture(pool) == {"idle": 1}


# Draining


def test_drain_waits_until_the_last_old_connection_is_back(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool()
    old = [pool.checkout(), pool.checkout()]
    draining = Worker(lambda: pool.drain(timeout=30))
    clock.await_waiters()
    new = pool.checkout()  # Others go on in the meantime, on new connections.
    old[0].release()
    clock.await_waiters()
    old[1].release()
    assert draining.result() is True
    assert picture(pool) == {"leased": 1}
    new.release()
    assert picture(pool) == {"idle": 1}


def test_drain_gives_up_after_its_timeout_and_the_connections_close_all_the_same(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    draining = Worker(lambda: pool.drain(timeout=30))
    clock.await_waiters()
    clock.advance(30)
    assert draining.result() is False
    lease.release()
    assert (picture(pool), driver.open()) == ({}, [])


def test_drain_of_an_idle_pool_returns_at_once(make_pool: MakePool) -> None:
    pool = make_pool()
    fill(pool, 2)
    assert pool.drain(timeout=0) is True
    assert picture(pool) == {}


def test_drain_does_not_wait_for_the_dead(make_pool: MakePool, clock: ManualClock) -> None:
    """A lease that is dropped while it waits ends it as a release would, by the next upkeep."""
    pool = make_pool()
    held = [pool.checkout()]
    draining = Worker(lambda: pool.drain(timeout=30))
    clock.await_waiters()
    held.clear()
    pool.maintain()
    assert draining.result() is True


# Suspending


def test_a_suspended_pool_hands_nothing_out_and_takes_everything_back(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, timeout=5)
    lease = pool.checkout()
    fill(pool, 1)
    pool.suspend()
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release()
    assert repr(pool) == (
        "<ConnectionPool 'test' suspended: "
        "size=2/2 connecting=0 idle=2 leased=0 maintenance=0 waiting=1>"
    )
    pool.resume()
    waiting.give_back()
    assert picture(pool) == {"idle": 2}


def test_a_checkout_from_a_suspended_pool_times_out_as_any(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool()
    fill(pool, 1)
    pool.suspend()
    with pytest.raises(PoolTimeout, match=r"The pool is suspended; call resume\(\) on it\.$"):
        pool.checkout(timeout=0)
    pool.resume()
    borrow(pool)


def test_a_suspended_pool_does_not_connect_in_the_background(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Whoever suspends a pool may be moving its server."""
    pool = make_pool(min_size=2)
    borrow(pool)
    pool.suspend()
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    pool.resume()
    pool.maintain()
    assert picture(pool) == {"idle": 2}


def test_suspend_and_resume_do_not_open_a_closed_pool(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()
    pool.suspend()
    pool.resume()
    with pytest.raises(PoolClosed):
        pool.checkout()


# Resizing


def test_a_larger_pool_serves_those_who_wait(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    pool.resize(2)
    waiting.give_back()
    lease.release()


def test_a_smaller_pool_closes_idle_connections_now_and_the_rest_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=4)
    leases = [pool.checkout(), pool.checkout()]
    fill(pool, 2)
    pool.resize(1)
    assert picture(pool) == {"leased": 2}
    for lease in leases:
        lease.release()
    assert picture(pool) == {"idle": 1}
    assert pool.stats().closed == {"shrunk": 3}


def test_a_pool_without_a_limit_has_no_surplus(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    fill(pool, 1)
    pool.resize(None, min_size=2)
    assert picture(pool) == {"idle": 1}
    pool.maintain()
    assert picture(pool) == {"idle": 2}


# Closing


def test_close_closes_idle_connections_now_and_leased_ones_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    fill(pool, 1)
    pool.close()
    pool.close()
    assert picture(pool) == {"leased": 1}
    lease.release()
    assert repr(pool) == (
        "<ConnectionPool 'test' closed: "
        "size=0/5 connecting=0 idle=0 leased=0 maintenance=0 waiting=0>"
    )
    assert pool.stats().closed == {"pool_closed": 2}


@pytest.mark.parametrize("linger", [True, False])
def test_close_tells_the_driver_whether_to_wait_for_the_server(
    make_pool: MakePool, driver: FakeDriver, linger: bool
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    fill(pool, 1)
    lingers: list[bool] = []
    close = driver.close

    def note(connections: list[FakeConnection], *, linger: bool) -> None:
        lingers.append(linger)
        close(connections, linger=linger)

    driver.close = note  # type: ignore[method-assign,assignment]
    pool.close(linger=linger)
    lease.release()
    assert lingers == [linger, linger]


def test_a_lease_that_is_dropped_after_close_is_closed_by_the_next_upkeep(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    pool.close()
    del lease
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])
