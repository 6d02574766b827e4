"""What is left when an exception strikes from outside: ``KeyboardInterrupt``, a killed greenlet."""

from __future__ import annotations

import gc

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, ScriptedClock, ScriptedLock, borrow, picture


def interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def interrupt_in_the_middle(connection: FakeConnection) -> None:
    """As a driver is left whose query was cut short."""
    connection.state = ConnectionState.UNUSABLE
    raise KeyboardInterrupt


def interrupted(function: object, *args: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        function(*args)  # type: ignore[operator]
    gc.collect()


def test_while_connecting(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_connect = interrupt
    interrupted(pool.checkout)
    assert picture(pool) == {}
    driver.on_connect = lambda: None
    pool.checkout(timeout=0).release()


def test_while_connecting_the_next_in_line_connects(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    waiting: list[Borrower] = []

    def let_another_come() -> None:
        driver.on_connect = lambda: None
        waiting.append(Borrower(pool))
        clock.await_waiters()
        raise KeyboardInterrupt

    driver.on_connect = let_another_come
    interrupted(pool.checkout)
    waiting[0].give_back()


def test_while_waiting(driver: FakeDriver) -> None:
    clock = ScriptedClock()
    pool = ConnectionPool("test", driver, Limits(max_size=1, reap_interval=0), clock=clock)
    lease = pool.checkout()
    clock.script = [interrupt]
    interrupted(pool.checkout)
    assert picture(pool) == {"leased": 1}
    lease.release()
    pool.checkout(timeout=0).release()


def test_while_waiting_at_the_moment_of_being_served(driver: FakeDriver) -> None:
    clock = ScriptedClock()
    pool = ConnectionPool("test", driver, Limits(max_size=1, reap_interval=0), clock=clock)
    lease = pool.checkout()

    def serve_and_interrupt() -> None:
        lease.release()
        raise KeyboardInterrupt

    clock.script = [serve_and_interrupt]
    interrupted(pool.checkout)
    assert picture(pool) == {"idle": 1}


def test_twice_while_waiting_leaves_a_ghost_that_hands_its_slot_on(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """Interrupted again on its way out, a waiter stays in line: its turn must not be lost."""
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    wait = clock.wait
    clock.wait = interrupt  # type: ignore[method-assign]
    # Takings of the lock: into the line, out of the line.
    ScriptedLock(pool, {2: interrupt})
    interrupted(pool.checkout)
    clock.wait = wait  # type: ignore[method-assign]
    assert picture(pool) == {"leased": 1, "waiting": 1}
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release()
    waiting.give_back()
    assert picture(pool) == {"idle": 1}


def test_a_ghost_does_not_keep_a_newcomer_from_what_is_idle(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    wait = clock.wait
    clock.wait = interrupt  # type: ignore[method-assign]
    ScriptedLock(pool, {2: interrupt})
    interrupted(pool.checkout)
    clock.wait = wait  # type: ignore[method-assign]
    lease.release()
    pool.checkout(timeout=0).release()
    assert picture(pool) == {"idle": 1}


def test_during_the_rollback_of_a_release(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_rollback = interrupt_in_the_middle
    lease = pool.checkout()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    interrupted(lease.release)
    assert picture(pool) == {"leased": 1}  # Still the caller's, who may try again,
    del lease
    assert picture(pool) == {"idle": 1}  # or drop it;
    assert borrow(pool) is driver.connections[1]  # but nobody else gets to use it.
    assert driver.most_open == 1


def test_during_a_check(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1, check_after=0)
    pool.checkout().release()
    driver.connections[0].is_quiet = False
    driver.on_check = interrupt_in_the_middle
    interrupted(pool.checkout)
    assert picture(pool) == {}
    assert pool.stats().closed == {"unusable": 1}
    assert borrow(pool) is driver.connections[1]


def test_during_a_reset(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    driver.on_reset = interrupt
    lease = pool.checkout()
    interrupted(lease.release)
    driver.on_reset = lambda connection: None
    lease.release()
    assert (picture(pool), driver.resets) == ({"idle": 1}, 1)


def test_while_closing_one_of_many_the_others_keep_their_places_until_they_are_closed(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Otherwise the server would count more connections than ``max_size``."""
    pool = make_pool(max_size=3)
    leases = [pool.checkout() for _ in range(3)]
    for lease in leases:
        lease.release()
    driver.on_close = interrupt
    interrupted(pool.recycle)
    driver.on_close = lambda connection: None
    leases = [pool.checkout() for _ in range(3)]
    assert driver.most_open == 3
    for lease in leases:
        assert lease.slot.generation == 2
        lease.release()


def test_after_a_connection_was_closed_nobody_gets_it(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """Interrupted between the closing and the book-keeping, its place still comes back."""
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    close = driver.close

    def close_and_interrupt(*args: object, **kwargs: object) -> None:
        close(*args, **kwargs)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    driver.close = close_and_interrupt  # type: ignore[method-assign]
    interrupted(lease.discard)
    driver.close = close  # type: ignore[method-assign]
    del lease
    fresh = pool.checkout()
    assert fresh.connection is driver.connections[1]
    assert driver.open() == [fresh.connection]
    fresh.release()


def test_while_ringing_delays_those_who_were_served_by_no_more_than_their_own_look(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_act", interrupt)
        interrupted(lease.release)
    clock.advance(1)
    waiting.give_back()


@pytest.mark.parametrize("name", ["Lease", "_Tombstone"])
def test_at_the_birth_of_what_has_a_finaliser(name: str) -> None:
    """The finaliser runs on an object whose ``__init__`` did not."""
    from django_connmgr._pool.owner import _Tombstone
    from django_connmgr._pool.slot import Lease

    cls = {"Lease": Lease, "_Tombstone": _Tombstone}[name]
    unborn = cls.__new__(cls)
    del unborn  # Errors in finalisers are warnings, and those are errors.


def test_while_retaking_what_was_parked(make_pool: MakePool) -> None:
    """After it took the token: what keeps the lease alive must not keep its slot."""
    pool = make_pool(max_size=1)
    pool.checkout().release()
    (lease,) = pool._ledger.parked.values()
    lease.claim.unpark()
    del lease
    pool.checkout(timeout=0).release()
