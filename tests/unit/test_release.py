from __future__ import annotations

import threading
from typing import Any

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, ScriptedLock, Worker, borrow, picture


def test_an_open_transaction_is_rolled_back(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    connection = lease.connection
    connection.state = ConnectionState.IN_TRANSACTION
    lease.release()
    assert (connection.state, connection.rollbacks) == (ConnectionState.IDLE, 1)
    assert picture(pool) == {"idle": 1}


def test_every_connection_is_reset_before_anybody_else_gets_it(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    seen: list[tuple[ConnectionState, dict[str, int]]] = []
    driver.on_reset = lambda connection: seen.append((connection.state, picture(pool)))
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    lease.release()
    assert seen == [(ConnectionState.IDLE, {"leased": 1})]


def test_a_connection_in_the_middle_of_something_is_closed(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Nobody can say what it would answer next."""
    pool = make_pool()
    lease = pool.acquire()
    lease.connection.state = ConnectionState.UNUSABLE
    lease.release()
    assert (picture(pool), driver.open(), driver.resets) == ({}, [], 0)
    assert pool.stats().closed == {"unusable": 1}


@pytest.mark.parametrize("hook", ["on_rollback", "on_reset"])
def test_a_connection_that_cannot_be_cleaned_is_closed_and_the_borrower_not_bothered(
    make_pool: MakePool, driver: FakeDriver, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    pool = make_pool()

    def fail(connection: FakeConnection) -> None:
        raise OSError("gone")

    setattr(driver, hook, fail)
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    lease.release()
    assert (picture(pool), driver.open()) == ({}, [])
    assert pool.stats().closed == {"reset_failed": 1}
    assert caplog.messages == ["Pool 'test': a connection could not be reset, so it is closed."]


def test_a_rollback_that_leaves_the_transaction_open_is_no_rollback(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    driver.rollback = lambda connection: None  # type: ignore[method-assign]
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    lease.release()
    assert pool.stats().closed == {"unusable": 1}


def test_discard_closes_whatever_the_state(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool()
    lease = pool.acquire()
    lease.discard()
    assert (picture(pool), driver.open(), driver.resets) == ({}, [], 0)
    assert pool.stats().closed == {"discarded": 1}


def test_discard_lets_the_next_in_line_connect(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Worker(lambda: borrow(pool))
    clock.await_waiters()
    lease.discard()
    assert waiting.result() is driver.connections[1]
    assert driver.most_open == 1


def test_a_connection_that_is_too_old_is_closed_on_return(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """And never under its holder."""
    pool = make_pool(max_lifetime=100)
    lease = pool.acquire()
    clock.advance(100)
    pool.maintain()
    assert picture(pool) == {"leased": 1}
    assert lease.connection.is_open
    lease.release()
    assert (picture(pool), pool.stats().closed) == ({}, {"lifetime": 1})


def test_a_returned_connection_keeps_its_place_until_it_is_closed(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    seen: list[dict[str, int]] = []
    driver.on_close = lambda connection: seen.append(picture(pool))
    pool.acquire().discard()
    assert seen == [{"maintenance": 1}]


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_lease_that_is_lost_while_another_thread_ends_it_takes_nothing_from_the_next_borrower(
    make_pool: MakePool, driver: FakeDriver, end: str
) -> None:
    """Between the look at the lease and the return its owner died and another came."""
    pool = make_pool(max_size=1)
    may_die = threading.Event()
    taken = threading.Event()
    leases = []

    def take_and_die() -> None:
        leases.append(pool.acquire())
        taken.set()
        assert may_die.wait(PATIENCE)

    owner = Worker(take_and_die)
    assert taken.wait(PATIENCE)
    (lease,) = leases
    others = []

    def meanwhile(*args: object) -> None:
        may_die.set()
        owner.join()
        driver.on_reset = lambda connection: None
        pool._lock = lock
        others.append(pool.acquire())

    lock = pool._lock
    if end == "release":
        driver.on_reset = meanwhile
    else:

        class LockOnce:
            def __enter__(self) -> None:
                meanwhile()
                lock.acquire()

            def __exit__(self, *exc_info: object) -> None:
                lock.release()

        pool._lock = LockOnce()  # type: ignore[assignment]
    getattr(lease, end)()
    assert not lease.is_held()
    assert picture(pool) == {"leased": 1}
    assert others[0].connection.is_open
    others[0].release()


def test_what_a_release_has_to_close_no_other_thread_closes(
    make_pool: MakePool, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is held until it is closed, so its caller would go on with it meanwhile."""
    pool = make_pool()
    lease = pool.acquire()
    pool.recycle()
    close, closers, may_close = driver.close, list[threading.Thread](), threading.Event()
    other = threading.Thread(target=pool._core.catch_up)

    def close_slowly(connections: Any, *, linger: bool) -> None:
        closers.append(threading.current_thread())
        assert closers[-1] is not other or may_close.wait(PATIENCE)
        close(connections, linger=linger)

    def start_other() -> None:
        other.start()
        while other.is_alive() and not closers:
            other.join(0.001)

    monkeypatch.setattr(driver, "close", close_slowly)
    ScriptedLock(pool, {2: start_other})
    try:
        lease.release()
    finally:
        may_close.set()
        other.join(PATIENCE)
    assert closers == [threading.current_thread()]
