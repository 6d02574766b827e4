from __future__ import annotations

import pytest

from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import fill, picture


def test_eight_connections_that_the_server_closed_cost_one_check(
    make_pool: MakePool, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one found dead condemns all that are as old."""
    pool = make_pool(max_size=8)
    for connection in fill(pool, 8):
        connection.kill()
    lease = pool.acquire()
    assert lease.connection is driver.connections[8]
    assert (driver.checks, driver.open()) == (1, [lease.connection])
    assert picture(pool) == {"leased": 1}
    stats = pool.stats()
    assert (stats.generation, stats.checkouts) == (2, 9)
    assert stats.closed == {"check_failed": 1, "recycled": 7}
    assert caplog.messages == [
        "Pool 'test': a connection was found dead; 7 other idle ones of its age go with it."
    ]
    lease.release()


def test_connections_of_the_condemned_generation_close_when_they_come_back(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    out = pool.acquire()
    (idle,) = fill(pool, 1)
    idle.kill()
    pool.acquire().release()
    out.release()
    assert picture(pool) == {"idle": 1}
    assert pool.stats().closed == {"check_failed": 1, "recycled": 1}


def test_a_dead_connection_of_an_older_generation_condemns_nobody(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """While it was being checked another one was found dead, and the pool began anew."""
    pool = make_pool()
    (dead,) = fill(pool, 1)
    dead.kill()
    driver.on_check = lambda connection: pool.recycle()
    pool.acquire().release()
    assert pool.stats().generation == 2


def test_a_loud_connection_that_answers_is_kept(make_pool: MakePool, driver: FakeDriver) -> None:
    """It may be a notice that made the socket readable."""
    pool = make_pool()
    (loud,) = fill(pool, 1)
    loud.is_quiet = False
    lease = pool.acquire()
    assert lease.connection is loud
    assert driver.checks == 1
    lease.release()


@pytest.mark.parametrize(("idle_for", "checks"), [(30, 0), (30.1, 1)])
def test_a_connection_idle_for_longer_than_check_after_is_checked_before_use(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock, idle_for: float, checks: int
) -> None:
    pool = make_pool(check_after=30)
    fill(pool, 1)
    clock.advance(idle_for)
    lease = pool.acquire()
    assert (driver.checks, pool.stats().checks) == (checks, checks)
    lease.release()
    pool.acquire().release()
    assert driver.checks == checks


def test_a_check_has_what_is_left_of_the_deadline(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(timeout=5, check_after=0)
    fill(pool, 1)
    clock.advance(1)
    timeouts: list[float] = []

    def check(connection: FakeConnection, timeout: float) -> bool:
        timeouts.append(timeout)
        return True

    driver.check = check  # type: ignore[method-assign]
    pool.acquire().release()
    assert timeouts == [5.0]


def test_a_connect_that_fails_after_a_failed_check_is_raised_as_it_is(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """During an outage the caller sees why, and not a timeout."""
    pool = make_pool()
    (dead,) = fill(pool, 1)
    dead.kill()

    def refuse() -> None:
        raise OSError("connection refused")

    driver.on_connect = refuse
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    assert picture(pool) == {}
    driver.on_connect = lambda: None
    pool.acquire().release()


def test_the_place_of_a_dead_connection_is_free_only_once_it_is_closed(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """As long as the server may count it, so does the pool."""
    pool = make_pool(max_size=2)
    for connection in fill(pool, 2):
        connection.kill()
    seen: list[dict[str, int]] = []
    driver.on_close = lambda connection: seen.append(picture(pool))
    pool.acquire().release()
    assert seen == [{"leased": 1, "maintenance": 1}, {"maintenance": 1}]
    assert driver.most_open == 2
