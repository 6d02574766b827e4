"""Waiting for a connection to come back, or opening another: whichever is faster."""

from __future__ import annotations

import pytest

from django_connmgr._pool.growth import LEISURE, MOST_PATIENCE, PATIENCE, REFUSAL_PAUSE, Growth
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Pool, Worker, borrow, picture

DEADLINE = 60.0


def growth(connect_time: float, *returns: float) -> Growth:
    """Of a queue that began at 0, and got connections back at these times."""
    made = Growth()
    made.connect_time = connect_time
    made.begin(0)
    for time in returns:
        made.note_return(time)
    return made


def test_in_a_queue_that_has_just_begun_a_waiter_waits() -> None:
    assert growth(0.1).should_wait(DEADLINE, 1, 0.019)


def test_in_a_queue_that_stands_still_it_connects() -> None:
    assert not growth(0.1).should_wait(DEADLINE, 1, 0.021)


def test_nothing_is_waited_for_in_vain_for_long_where_connecting_takes_long() -> None:
    slow = growth(10)
    assert slow.pause(0.0) == MOST_PATIENCE
    assert not slow.should_wait(DEADLINE, 1, MOST_PATIENCE + 0.001)


def test_in_a_queue_that_moves_a_waiter_waits_if_that_is_shorter_than_connecting() -> None:
    assert growth(0.15, 0.001, 0.002, 0.003, 0.004).should_wait(DEADLINE, 40, 0.005)


def test_in_a_queue_that_moves_too_slowly_it_connects() -> None:
    slow = growth(0.15, *(number * 0.02 for number in range(1, 9)))
    assert not slow.should_wait(DEADLINE, 40, 0.161)
    assert slow.should_wait(DEADLINE, 4, 0.161)


def test_before_anything_was_opened_there_is_nothing_to_compare_with() -> None:
    assert not growth(0.0).should_wait(DEADLINE, 1, 0.0)


def test_a_waiter_without_time_connects() -> None:
    patience = 0.1 * PATIENCE
    assert growth(0.1).should_wait(LEISURE * patience + 0.001, 1, 0.0)
    assert not growth(0.1).should_wait(LEISURE * patience, 1, 0.0)


def test_in_a_queue_that_is_full_a_waiter_connects() -> None:
    full = growth(0.1)
    full.hurry(0.0)
    assert not full.should_wait(DEADLINE, 1, 0.0)


def test_a_refusal_of_the_server_ends_after_a_pause() -> None:
    refused = growth(0.0)
    refused.refuse(1.0)
    assert refused.is_refused(1.0)
    assert refused.pause(1.0) == pytest.approx(REFUSAL_PAUSE)
    assert not refused.is_refused(1.0 + REFUSAL_PAUSE)


@pytest.fixture
def pool(make_pool: MakePool, driver: FakeDriver, clock: ManualClock) -> Pool:
    """One connection, which took 100 ms to open."""
    pool = make_pool(max_size=3, timeout=5, max_waiting=2)
    driver.on_connect = lambda: setattr(clock, "_now", clock._now + 0.1)
    pool.acquire().release()
    driver.on_connect = lambda: None
    return pool


def test_a_connection_that_comes_back_soon_is_waited_for(pool: Pool, clock: ManualClock) -> None:
    lease = pool.acquire()
    borrower = Worker(lambda: borrow(pool))
    clock.await_waiters()
    lease.release()
    borrower.result()
    assert pool.stats().opened == 1


def test_one_that_does_not_is_replaced_by_another(pool: Pool, clock: ManualClock) -> None:
    lease = pool.acquire()
    borrower = Worker(lambda: borrow(pool))
    clock.await_waiters()
    clock.advance(0.021)
    borrower.result()
    assert pool.stats().opened == 2
    lease.release()


def test_a_waiter_without_time_is_served_a_new_one_at_once(pool: Pool) -> None:
    lease = pool.acquire()
    pool.acquire(timeout=0.1).release()
    assert pool.stats().opened == 2
    lease.release()


def test_nobody_is_refused_while_those_who_wait_might_connect(
    pool: Pool, clock: ManualClock
) -> None:
    lease = pool.acquire()
    waiting = [Worker(lambda: borrow(pool)), Worker(lambda: borrow(pool))]
    clock.await_waiters(2)
    assert picture(pool) == {"leased": 1, "waiting": 2}
    last = Worker(lambda: borrow(pool))
    for borrower in waiting:
        borrower.result()
    last.result()
    lease.release()
    assert (pool.stats().rejected, pool.stats().opened) == (0, 3)
