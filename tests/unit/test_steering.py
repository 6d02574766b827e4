from __future__ import annotations

import gc

import pytest

from django_connmgr._pool.errors import PoolClosed, PoolTimeout
from django_connmgr._pool.limits import Limits
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Worker, borrow, fill, picture


def test_recycle_closes_idle_connections_now_and_leased_ones_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
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
    old = [pool.acquire(), pool.acquire()]
    draining = Worker(lambda: pool.drain(timeout=30))
    clock.await_waiters()
    new = pool.acquire()  # Others go on in the meantime, on new connections.
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
    lease = pool.acquire()
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
    held = [pool.acquire()]
    draining = Worker(lambda: pool.drain(timeout=30))
    clock.await_waiters()
    held.clear()
    gc.collect()
    pool.maintain()
    assert draining.result() is True


# Suspending


def test_a_suspended_pool_hands_nothing_out_and_takes_everything_back(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, timeout=5)
    lease = pool.acquire()
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
        pool.acquire(timeout=0)
    pool.resume()
    borrow(pool)


def test_a_suspended_pool_does_not_connect_in_the_background(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """A pool is suspended while its server is moved, for example."""
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
        pool.acquire()


# Resizing


def test_a_larger_pool_serves_those_who_wait(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    pool.resize(2)
    waiting.give_back()
    lease.release()


def test_a_smaller_pool_closes_idle_connections_now_and_the_rest_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=4)
    leases = [pool.acquire(), pool.acquire()]
    fill(pool, 2)
    pool.resize(1)
    assert picture(pool) == {"leased": 2}
    for lease in leases:
        lease.release()
    assert picture(pool) == {"idle": 1}
    assert pool.stats().closed == {"shrunk": 3}


def test_a_pool_without_a_limit_has_no_surplus(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    pool.resize(None)
    assert pool.stats().max_size is None
    fill(pool, 20)
    lease.release()
    assert picture(pool) == {"idle": 21}


WHOLE = "resize() takes a whole number, {} or more"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"max_size": 0}, f"{WHOLE.format(1)}, or None for no limit."),
        ({"max_size": -1}, f"{WHOLE.format(1)}, or None for no limit."),
        ({"max_size": 2.5}, f"{WHOLE.format(1)}, or None for no limit."),
        ({"max_size": True}, f"{WHOLE.format(1)}, or None for no limit."),
        ({"max_size": "many"}, f"{WHOLE.format(1)}, or None for no limit."),
        ({"max_size": 5, "min_size": -1}, f"{WHOLE.format(0)}."),
        ({"max_size": 5, "min_size": "few"}, f"{WHOLE.format(0)}."),
        (
            {"max_size": 2, "min_size": 3},
            (
                "Pool option 'min_size' (3) is larger than 'max_size' (2). "
                "Lower min_size or raise max_size."
            ),
        ),
        (
            {"max_size": 5, "min_size": 1},
            (
                "Pool option 'min_size' needs the background thread, and 'reap_interval' is 0. "
                "Remove 'min_size', or set reap_interval to a number of seconds above 0."
            ),
        ),
    ],
)
def test_what_may_not_stand_in_the_options_changes_nothing(
    make_pool: MakePool, sizes: dict[str, object], message: str
) -> None:
    pool = make_pool(max_size=3)
    fill(pool, 3)
    before = repr(pool), pool.stats()
    with pytest.raises(ValueError) as caught:
        pool.resize(**sizes)  # type: ignore[arg-type]
    assert str(caught.value) == message
    assert (repr(pool), pool.stats()) == before


@pytest.mark.parametrize(("given", "taken"), [("2", 2), (" none ", None), (2, 2), (None, None)])
def test_sizes_may_be_strings_as_in_the_options(
    make_pool: MakePool, given: object, taken: int | None
) -> None:
    pool = make_pool(max_size=3)
    pool.resize(given)  # type: ignore[arg-type]
    assert (pool.stats().max_size, pool.stats().min_size) == (taken, 0)


def test_a_new_max_size_keeps_the_min_size_that_there_is(make_pool: MakePool) -> None:
    limits = Limits(max_size=5, min_size=2)
    assert (limits.resized(3, None).min_size, limits.resized(3, 0).min_size) == (2, 0)
    with pytest.raises(ValueError, match=r"'min_size' \(2\) is larger than 'max_size' \(1\)"):
        limits.resized(1, None)


# Closing


def test_close_closes_idle_connections_now_and_leased_ones_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
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
    lease = pool.acquire()
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
    lease = pool.acquire()
    pool.close()
    del lease
    gc.collect()
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])


def test_close_takes_in_what_was_lost_until_then(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool()
    borrow(pool)
    lease = pool.acquire()
    del lease
    Worker(pool.acquire).result()
    assert pool.has_lost()
    pool.close()
    assert (picture(pool), driver.open(), pool.has_lost()) == ({}, [], False)


def test_a_pool_that_is_closed_while_it_connects_tells_the_opener(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    driver.on_connect = pool.close
    with pytest.raises(PoolClosed) as caught:
        pool.acquire()
    assert str(caught.value) == ("Pool 'test' was closed while a connection was being opened.")
    assert (picture(pool), driver.open(), pool.stats().closed) == ({}, [], {"pool_closed": 1})


def test_a_pool_that_is_recycled_while_it_connects_closes_the_connection_on_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    driver.on_connect = pool.recycle
    lease = pool.acquire()
    assert picture(pool) == {"leased": 1}
    lease.release(is_warm=True)
    assert (picture(pool), driver.open(), pool.stats().closed) == ({}, [], {"recycled": 1})


def test_shut_down_leaves_waiters_asleep(make_pool: MakePool, clock: ManualClock) -> None:
    """At the exit of the process they end with it; errors would only be noise."""
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    waiter = next(iter(pool._state.waiters))
    pool.shut_down()
    assert (waiter.is_out, waiter.error, waiter.wait(0)) == (False, None, False)
    assert picture(pool) == {"leased": 1}
    with pytest.raises(PoolClosed):
        pool.acquire()
    clock.advance(5)
    with pytest.raises(PoolTimeout):
        waiting.await_served()
    lease.release()


def test_shut_down_closes_what_is_idle_and_does_not_linger(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    borrow(pool, is_warm=True)
    lingers: list[bool] = []
    close = driver.close

    def note(connections: list[FakeConnection], *, linger: bool) -> None:
        lingers.append(linger)
        close(connections, linger=linger)

    driver.close = note  # type: ignore[method-assign,assignment]
    pool.shut_down()
    assert (picture(pool), lingers) == ({"leased": 1}, [False])
    lease.release()
    assert (picture(pool), lingers) == ({}, [False, False])
