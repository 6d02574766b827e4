from __future__ import annotations

import logging
import threading

import pytest

from django_connmgr import PoolClosed, PoolError
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.owner import current_owner
from django_connmgr._pool.slot import Lease
from django_connmgr.testing import FakeConnection, FakeDriver

from .conftest import MakePool
from .helpers import Worker, picture

RELEASED = "This lease was released; check out another."


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


def test_the_first_checkout_opens_one_connection_and_lends_it_itself(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    assert lease.connection is driver.connections[0]
    assert picture(pool) == {"leased": 1}
    lease.release()
    assert picture(pool) == {"idle": 1}


def test_reusing_a_healthy_clean_connection_sends_nothing(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    for _ in range(3):
        pool.checkout().release()
    connection = driver.connections[0]
    assert driver.connections == [connection]
    assert (driver.checks, connection.rollbacks) == (0, 0)


def test_the_last_returned_is_the_first_lent(make_pool: MakePool) -> None:
    pool = make_pool()
    first, second = pool.checkout(), pool.checkout()
    returned_last = first.connection
    second.release()
    first.release()
    again = pool.checkout()
    assert again.connection is returned_last
    again.release()


def test_without_a_limit_every_checkout_gets_a_connection(make_pool: MakePool) -> None:
    pool = make_pool(max_size=None)
    leases = [pool.checkout() for _ in range(20)]
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
            lease = pool.checkout()
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

    lease = pool.checkout(connect=connect)
    assert lease.connection is own
    assert (timeouts, driver.connections) == ([7.0], [])
    lease.release()


def test_a_closed_pool_refuses(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool()
    pool.close()
    with pytest.raises(PoolClosed, match=r"^Pool 'test' is closed; the next query"):
        pool.checkout()
    assert driver.connections == []


# Leases


@pytest.mark.parametrize("end", ["release", "discard"])
@pytest.mark.parametrize("misuse", ["release", "discard", "share"])
def test_an_ended_lease_cannot_be_ended_again(make_pool: MakePool, end: str, misuse: str) -> None:
    pool = make_pool()
    lease = pool.checkout()
    getattr(lease, end)()
    before = picture(pool)
    with pytest.raises(PoolError) as caught:
        getattr(lease, misuse)()
    assert str(caught.value) == RELEASED
    assert picture(pool) == before


def test_a_released_lease_does_not_show_its_connection(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    lease.release()
    with pytest.raises(PoolError) as caught:
        _ = lease.connection
    assert str(caught.value) == RELEASED


def test_a_released_lease_cannot_release_the_next_borrower_s_connection(
    make_pool: MakePool,
) -> None:
    """A returned connection is never touched again by its previous owner."""
    pool = make_pool(max_size=1)
    old = pool.checkout()
    old.release()
    new = pool.checkout()
    with pytest.raises(PoolError):
        old.release()
    assert (old.is_held(), new.is_held()) == (False, True)
    assert picture(pool) == {"leased": 1}
    new.release()


def test_a_lease_has_no_connection_before_that_is_open(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = Lease(pool)
    with pool._lock:
        assert pool._ledger.reserve(lease, current_owner(), 0.0)
    with pytest.raises(PoolError) as caught:
        _ = lease.connection
    assert str(caught.value) == (
        "This lease has no connection yet: use it when checkout() has returned."
    )
    assert picture(pool) == {"connecting": 1}
    lease.discard()
    assert picture(pool) == {}


def test_a_lease_describes_itself(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    assert repr(lease) == f"<Lease {lease.id} of pool 'test', held>"
    assert repr(lease.slot) == f"<Slot leased generation=1 lease={lease.id}>"
    lease.release()
    assert repr(lease) == f"<Lease {lease.id} of pool 'test', ended>"


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
        lease = pool.checkout()
        lease.connection.state = ConnectionState.IN_TRANSACTION
        lease.release()
        driver.connections[0].kill()
        pool.checkout().discard()  # A dead one is found, a new one opened and closed.
        Worker(pool.checkout).result()  # Its owner dies.
        pool.maintain()
        pool.close()
    finally:
        logger.removeHandler(listener)
    assert set(called) == {"connect", "check", "rollback", "reset", "close", "log"}
