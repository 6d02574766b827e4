from __future__ import annotations

import itertools

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.jitter import SHARE, Jitter
from django_connmgr._pool.owner import here
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock, ServerFull

from .conftest import MakePool
from .helpers import Borrower, Worker, borrow, fill, picture


def test_what_was_idle_for_max_idle_is_closed_without_any_traffic(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_idle=300)
    fill(pool, 3)
    clock.advance(299)
    pool.maintain()
    assert picture(pool) == {"idle": 3}
    clock.advance(1)
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])
    assert pool.stats().closed == {"idle": 3}


def test_use_starts_idleness_anew(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_idle=300)
    first, second = fill(pool, 2)
    clock.advance(200)
    used = borrow(pool)
    clock.advance(100)
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    assert borrow(pool) is used
    assert {first, second} - {used} == {c for c in (first, second) if not c.is_open}


def test_max_idle_of_zero_means_never(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_idle=0, max_lifetime=0)
    fill(pool, 1)
    clock.advance(1e9)
    pool.maintain()
    assert picture(pool) == {"idle": 1}


def test_idleness_closes_no_more_than_down_to_min_size(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_idle=300, min_size=2)
    fill(pool, 3)
    clock.advance(300)
    pool.maintain()
    assert picture(pool) == {"idle": 2}


def test_once_used_a_pool_is_filled_up_to_min_size(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(min_size=3)
    pool.maintain()
    assert driver.connections == []  # A process that used no database opens nothing.
    borrow(pool)
    assert picture(pool) == {"idle": 1}  # Nor does one query open three connections.
    pool.maintain()
    assert picture(pool) == {"idle": 3}
    stats = pool.stats()
    assert (stats.opened, stats.checkouts, stats.hold_seconds) == (3, 1, 0)


def test_a_refill_that_fails_is_logged_and_tried_again_at_the_next_pass(
    make_pool: MakePool, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(min_size=2)
    borrow(pool)

    def refuse() -> None:
        raise OSError("connection refused")

    driver.on_connect = refuse
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    assert caplog.messages == [
        "Pool 'test': could not connect in the background: connection refused"
    ]
    driver.on_connect = lambda: None
    pool.maintain()
    assert picture(pool) == {"idle": 2}


def test_a_refill_leaves_a_full_server_alone(
    make_pool: MakePool, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(min_size=3)
    borrow(pool)

    def refuse() -> None:
        raise ServerFull

    driver.on_connect = refuse
    pool.maintain()
    assert (picture(pool), pool.stats().connect_failures, caplog.messages) == ({"idle": 1}, 1, [])


def test_a_refill_ends_although_every_new_connection_is_closed_at_once(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """As with a reset that always fails: one attempt for each pass, not for ever."""
    pool = make_pool(min_size=2)
    borrow(pool)
    attempts: list[FakeConnection] = []

    def fail(connection: FakeConnection) -> None:
        attempts.append(connection)
        if len(attempts) > 10:
            pytest.fail("It goes on for ever.")
        raise OSError("gone")

    driver.on_reset = fail
    pool.maintain()
    assert (picture(pool), len(attempts)) == ({"idle": 1}, 1)


def test_a_closed_pool_is_not_refilled(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(min_size=2)
    lease = pool.acquire()
    pool.close()
    driver.on_connect = lambda: pytest.fail("It connected.")
    pool.maintain()
    assert picture(pool) == {"leased": 1}
    lease.release()
    assert picture(pool) == {}


def test_a_refill_leaves_the_way_open_for_max_connecting(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """Upkeep stands in the same line as everybody else who connects."""
    pool = make_pool(min_size=3, max_connecting=1)
    borrow(pool)
    others: list[Borrower] = []

    def let_others_come() -> None:
        driver.on_connect = lambda: None
        others.extend(Borrower(pool) for _ in range(2))
        clock.await_waiters()  # One has the idle connection, the other may not connect yet.
        assert picture(pool) == {"connecting": 1, "leased": 1, "waiting": 1}

    driver.on_connect = let_others_come
    pool.maintain()
    for other in others:
        other.give_back()
    assert picture(pool) == {"idle": 3}


# Lifetime


def test_what_is_too_old_is_replaced_while_idle(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_lifetime=1000, max_idle=0, min_size=1)
    fill(pool, 1)
    clock.advance(1000)
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    assert [connection.is_open for connection in driver.connections] == [False, True]
    assert pool.stats().closed == {"lifetime": 1}


def test_connections_opened_together_do_not_end_together(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=10, max_lifetime=1000, max_idle=0)
    fill(pool, 10)
    clock.advance(1000 * (1 - SHARE) - 0.1)
    sizes = []
    for _ in range(10):
        pool.maintain()
        sizes.append(pool.stats().size)
        clock.advance(1000 * SHARE / 10)
    pool.maintain()
    sizes.append(pool.stats().size)
    steps = [before - after for before, after in itertools.pairwise(sizes)]
    assert sizes[0] == 10
    assert max(steps) <= 3
    clock.advance(1)
    pool.maintain()
    assert pool.stats().size == 0


@pytest.mark.parametrize("count", [2, 5, 10, 50])
def test_expiries_are_spaced_over_the_last_tenth(count: int) -> None:
    """Evenly enough that no two of them are nearer than half of an even spacing."""
    jitter = Jitter()
    times = sorted(jitter.expiry(100.0, 1000.0) for _ in range(count))
    assert times[0] >= 100 + 1000 * (1 - SHARE)
    assert times[-1] <= 100 + 1000
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) > 1000 * SHARE / count / 3


def test_processes_that_start_together_end_their_connections_apart() -> None:
    assert len({Jitter().expiry(0.0, 1000.0) for _ in range(10)}) == 10


# Keeping alive


def test_keepalive_makes_traffic_after_silence_and_only_then(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60, max_idle=0)
    fill(pool, 2)
    clock.advance(59)
    pool.maintain()
    assert driver.checks == 0
    clock.advance(1)
    pool.maintain()
    assert driver.checks == 2
    pool.maintain()
    assert driver.checks == 2
    assert picture(pool) == {"idle": 2}


def test_keepalive_does_not_count_as_use(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60, max_idle=300)
    fill(pool, 1)
    for _ in range(5):
        assert picture(pool) == {"idle": 1}
        clock.advance(60)
        pool.maintain()
    assert (picture(pool), driver.checks) == ({}, 4)


def test_what_keepalive_finds_dead_is_closed_with_all_of_its_age(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60)
    for connection in fill(pool, 3):
        connection.kill()
    clock.advance(60)
    pool.maintain()
    assert (picture(pool), driver.checks) == ({}, 1)
    assert pool.stats().closed == {"check_failed": 1, "recycled": 2}


def test_the_indexes_do_not_grow_while_a_pool_lies_idle_for_weeks(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(keepalive=60, max_idle=0, max_lifetime=0)
    fill(pool, 2)
    borrow(pool, is_warm=True)
    for _ in range(50):
        clock.advance(60)
        pool.maintain()
        borrow(pool, is_warm=True)
    state = pool._state
    assert (len(state.cold), len(state.warm), len(state.lost.queue)) == (1, 1, 0)


def test_keepalive_does_not_change_who_is_lent_first(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60, max_idle=0, check_after=100)
    fill(pool, 2)
    clock.advance(50)
    last_used = borrow(pool)
    clock.advance(10)
    pool.maintain()
    assert driver.checks == 1
    pool.maintain()
    assert borrow(pool) is last_used


def test_what_upkeep_closed_is_not_remembered_below_what_is_in_use(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """A closed connection is garbage at once, though the last returned is always lent first."""
    pool = make_pool(max_idle=100, max_lifetime=0)
    for _ in range(20):
        fill(pool, 3)
        for _ in range(2):
            clock.advance(60)
            borrow(pool)
            pool.maintain()
    assert set(pool._state.cold) == set(pool._state.slots)
    assert not pool._state.warm
    assert not [slot for slot in here.owner.held if slot.lost is pool._state.lost]


def test_a_connection_is_lent_to_nobody_while_it_is_kept_alive(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1, keepalive=60)
    fill(pool, 1)
    clock.advance(60)
    waiting: list[Borrower] = []

    def let_another_come(connection: FakeConnection) -> None:
        waiting.append(Borrower(pool))
        clock.await_waiters()
        assert picture(pool) == {"maintenance": 1, "waiting": 1}

    driver.on_check = let_another_come
    pool.maintain()
    assert waiting[0].await_served() is driver.connections[0]
    waiting[0].give_back()


def test_what_was_condemned_while_it_was_kept_alive_is_closed_after(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60)
    fill(pool, 1)
    clock.advance(60)
    driver.on_check = lambda connection: pool.recycle()
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])
    assert pool.stats().closed == {"recycled": 1}


def test_a_pool_that_was_closed_while_it_kept_a_connection_alive_closes_it(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60)
    fill(pool, 1)
    clock.advance(60)
    driver.on_check = lambda connection: pool.close()
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])


# Slots of the dead


def test_upkeep_takes_back_and_cleans_what_dead_threads_held(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()

    def take() -> object:
        lease = pool.acquire()
        lease.connection.state = ConnectionState.IN_TRANSACTION
        return lease

    _keep = Worker(take).result()
    pool.maintain()
    connection = driver.connections[0]
    assert picture(pool) == {"idle": 1}
    assert (connection.state, connection.rollbacks) == (ConnectionState.IDLE, 1)
    assert borrow(pool) is connection
    assert connection.rollbacks == 1


def test_upkeep_closes_what_a_dead_thread_left_unusable(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()

    def take() -> object:
        lease = pool.acquire()
        lease.connection.state = ConnectionState.UNUSABLE
        return lease

    _keep = Worker(take).result()
    pool.maintain()
    assert (picture(pool), driver.open()) == ({}, [])


def test_upkeep_leaves_alone_what_was_leased_in_the_meantime(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60, max_idle=0)
    fill(pool, 2)
    clock.advance(60)
    taken: list[Borrower] = []

    def take_the_other(connection: FakeConnection) -> None:
        driver.on_check = lambda connection: None
        taken.append(Borrower(pool))
        taken[0].await_served()

    driver.on_check = take_the_other
    pool.maintain()
    assert picture(pool) == {"idle": 1, "leased": 1}
    taken[0].give_back()
