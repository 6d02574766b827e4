"""Waiting for a connection to come back, or opening another: whichever is faster."""

from __future__ import annotations

import pytest

from django_connmgr._pool.pace import Pace
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Pool, Worker, borrow, picture


def pace(connect_time: float, *returns: float) -> Pace:
    """Of a line that began at 0, and got connections at these times."""
    made = Pace()
    made.connect_time = connect_time
    made.begin(0)
    for time in returns:
        made.note_return(time)
    return made


def test_a_line_that_has_just_begun_is_waited_in() -> None:
    assert pace(0.1).is_worth_waiting(0.019, waiting=1)


def test_a_line_that_stands_still_is_not() -> None:
    assert not pace(0.1).is_worth_waiting(0.021, waiting=1)


def test_nobody_waits_in_vain_for_long_where_connecting_takes_long() -> None:
    assert pace(10).patience == 0.025


def test_a_line_that_moves_is_waited_in_if_the_wait_is_shorter_than_connecting() -> None:
    assert pace(0.15, 0.001, 0.002, 0.003, 0.004).is_worth_waiting(0.005, waiting=40)


def test_a_line_that_moves_too_slowly_is_not() -> None:
    slow = pace(0.15, *(number * 0.02 for number in range(1, 9)))
    assert not slow.is_worth_waiting(0.161, waiting=40)
    assert slow.is_worth_waiting(0.161, waiting=4)


@pytest.fixture
def pool(make_pool: MakePool, driver: FakeDriver, clock: ManualClock) -> Pool:
    """One connection, which took 100 ms to open."""
    pool = make_pool(max_size=3, timeout=5, max_waiting=2)
    driver.on_connect = lambda: setattr(clock, "_now", clock._now + 0.1)
    pool.checkout().release()
    driver.on_connect = lambda: None
    return pool


def test_a_connection_that_comes_back_soon_is_waited_for(pool: Pool, clock: ManualClock) -> None:
    lease = pool.checkout()
    borrower = Worker(lambda: borrow(pool))
    clock.await_waiters()
    lease.release()
    borrower.result()
    assert pool.stats().opened == 1


def test_one_that_does_not_is_replaced_by_another(pool: Pool, clock: ManualClock) -> None:
    lease = pool.checkout()
    borrower = Worker(lambda: borrow(pool))
    clock.await_waiters()
    clock.advance(0.021)
    borrower.result()
    assert pool.stats().opened == 2
    lease.release()


def test_who_has_no_time_connects_at_once(pool: Pool) -> None:
    lease = pool.checkout()
    pool.checkout(timeout=0.1).release()
    assert pool.stats().opened == 2
    lease.release()


def test_nobody_is_refused_while_those_who_wait_might_connect(
    pool: Pool, clock: ManualClock
) -> None:
    lease = pool.checkout()
    waiting = [Worker(lambda: borrow(pool)), Worker(lambda: borrow(pool))]
    clock.await_waiters(2)
    assert picture(pool) == {"leased": 1, "waiting": 2}
    last = Worker(lambda: borrow(pool))
    for borrower in waiting:
        borrower.result()
    last.result()
    lease.release()
    assert (pool.stats().rejected, pool.stats().opened) == (0, 3)
