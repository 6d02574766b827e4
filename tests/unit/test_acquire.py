from __future__ import annotations

import logging
import threading

import pytest

from django_connmgr import exceptions
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolClosed, PoolTimeout
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeConnection, FakeDriver

from .conftest import MakePool
from .helpers import Worker, picture


def test_a_pool_that_nobody_used_has_opened_nothing(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(min_size=3)
    pool.maintain()
    assert repr(pool) == (
        "<ConnectionPool 'test' open: "
        "size=0/5 connecting=0 idle=0 leased=0 maintenance=0 waiting=0>"
    )
    assert driver.connections == []


def test_the_first_acquire_opens_one_connection_and_lends_it_itself(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    assert lease.connection is driver.connections[0]
    assert picture(pool) == {"leased": 1}
    lease.release()
    assert picture(pool) == {"idle": 1}


def test_reusing_a_healthy_clean_connection_sends_nothing(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    for _ in range(3):
        pool.acquire().release()
    connection = driver.connections[0]
    assert driver.connections == [connection]
    assert (driver.checks, driver.resets, connection.rollbacks) == (0, 0, 0)


def test_the_last_returned_is_the_first_lent(make_pool: MakePool) -> None:
    pool = make_pool()
    first, second = pool.acquire(), pool.acquire()
    returned_last = first.connection
    second.release()
    first.release()
    again = pool.acquire()
    assert again.connection is returned_last
    again.release()


def test_without_a_limit_every_acquire_gets_a_connection(make_pool: MakePool) -> None:
    pool = make_pool(max_size=None)
    leases = [pool.acquire() for _ in range(20)]
    assert picture(pool) == {"leased": 20}
    for lease in leases:
        lease.release()


def test_fifty_threads_never_open_more_than_max_size_nor_share_a_connection(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=3, timeout=1000)
    barrier = threading.Barrier(50)
    in_use: list[FakeConnection] = []  # Appended to and removed from by the user alone.

    def use() -> None:
        barrier.wait()
        for _ in range(5):
            lease = pool.acquire()
            connection = lease.connection
            assert connection not in in_use
            in_use.append(connection)
            assert in_use.count(connection) == 1
            in_use.remove(connection)
            lease.release()

    for worker in [Worker(use) for _ in range(50)]:
        worker.result()
    assert driver.most_open <= 3
    assert picture(pool) == {"idle": len(driver.connections)}
    assert pool.stats().checkouts == 250


def test_a_connect_of_the_callers_own_replaces_the_driver_s(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(timeout=7)
    own = FakeConnection(99)
    timeouts: list[float] = []

    def connect(timeout: float) -> FakeConnection:
        timeouts.append(timeout)
        return own

    lease = pool.acquire(connect=connect)
    assert lease.connection is own
    assert (timeouts, driver.connections) == ([7.0], [])
    lease.release()


def test_a_closed_pool_refuses(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool()
    pool.close()
    with pytest.raises(PoolClosed) as caught:
        pool.acquire()
    assert str(caught.value) == (
        "Pool 'test' is closed; the next query on connections['test'] makes a new one, so do not "
        "keep pools."
    )
    assert (driver.connections, picture(pool)) == ([], {})


def test_a_pool_raises_the_classes_that_it_was_given(driver: FakeDriver) -> None:
    """Django's are ``OperationalError``, which the core does not know."""
    limits = Limits(max_size=1, reap_interval=0)
    pool = ConnectionPool("test", driver, limits, errors=exceptions.ERRORS)
    lease = pool.acquire()
    with pytest.raises(exceptions.PoolTimeout):
        pool.acquire(timeout=0)
    lease.release()
    with pytest.raises(exceptions.PoolError):
        lease.release()
    pool.close()
    with pytest.raises(exceptions.PoolClosed):
        pool.acquire()


def test_a_pool_of_its_own_raises_its_own_classes(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(timeout=0)
    assert not isinstance(caught.value, exceptions.OperationalError)
    lease.release()


# The lock


def test_neither_driver_nor_log_is_called_under_the_lock(
    make_pool: MakePool, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """No user code, no network traffic and no logging while others cannot use the pool."""
    pool = make_pool(max_idle=50, keepalive=10)
    called: list[str] = []

    def look(what: str) -> None:
        assert not pool._lock.locked(), what
        called.append(what)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            look("log")

    driver.on_connect = lambda: look("connect")
    driver.on_check = lambda connection: look("check")
    driver.on_rollback = lambda connection: look("rollback")
    driver.on_reset = lambda connection: look("reset")
    driver.on_close = lambda connection: look("close")
    logger = logging.getLogger("django_connmgr")
    listener = Listener()
    logger.addHandler(listener)
    try:
        lease = pool.acquire()
        lease.connection.state = ConnectionState.IN_TRANSACTION
        lease.release()
        driver.connections[0].kill()
        pool.acquire().discard()  # A dead one is found, a new one opened and closed.
        Worker(pool.acquire).result()  # Its owner dies.
        pool.maintain()
        pool.close()
    finally:
        logger.removeHandler(listener)
    assert set(called) == {"connect", "check", "rollback", "reset", "close", "log"}
