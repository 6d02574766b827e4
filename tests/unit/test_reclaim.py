"""Waiters take connections from owners who do not use them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_connmgr import PoolTimeout
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.owner import current_owner
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.slot import FREE, KEPT, Lease
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

Pool = ConnectionPool[FakeConnection]


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pool_of(driver: FakeDriver, clock: ManualClock) -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(max_size: int = 1, **limits: Any) -> Pool:
        settings = Limits(max_size=max_size, reap_interval=0.0, fair_after=0.0, **limits)
        pools.append(ConnectionPool("test", driver, settings, clock=clock))
        return pools[-1]

    yield make
    for pool in pools:
        stats = pool.stats()
        assert stats.idle == stats.size, pool
        pool.close()
    assert driver.open() == []


def quiescent(pool: Pool, *, keep: bool = False) -> Lease[FakeConnection]:
    lease = pool.checkout()
    lease.claim.put_down(KEPT if keep else FREE)
    return lease


def test_a_quiescent_lease_is_taken_at_once(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of()
    first = quiescent(pool)
    second = pool.checkout(timeout=0)
    assert not first.is_held()
    assert not first.claim.pick_up()
    assert (pool.stats().reclaimed, pool.stats().leased, pool.stats().opened) == (1, 1, 1)
    second.release()


def test_it_is_not_taken_where_it_is_not_wanted(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of(reclaim=False)
    first = quiescent(pool)
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    assert first.claim.pick_up()
    first.release()


def test_it_is_not_taken_while_there_is_another(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of(2)
    first = quiescent(pool)
    second = pool.checkout()
    assert first.claim.pick_up()
    assert (pool.stats().reclaimed, pool.stats().opened) == (0, 2)
    first.release()
    second.release()


@pytest.mark.parametrize("is_kept", [False, True], ids=["in use", "kept"])
def test_a_lease_with_a_hold_is_not_taken(pool_of: Callable[..., Pool], is_kept: bool) -> None:
    pool = pool_of()
    first = pool.checkout()
    if is_kept:
        first.claim.put_down(KEPT)
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    assert first.is_held()
    first.release()


def test_the_one_that_was_not_used_for_longest_goes_first(
    pool_of: Callable[..., Pool], clock: ManualClock
) -> None:
    pool = pool_of(3)
    leases = []
    for _ in range(3):
        leases.append(pool.checkout())
        clock.advance(1)
    leases[0].slot.used_at = leases[0].pool.now()
    for lease in leases:
        lease.claim.put_down(FREE)
    taken = pool.checkout(timeout=0)
    assert [lease.is_held() for lease in leases] == [True, False, True]
    for lease in (leases[0], leases[2], taken):
        lease.release()


def test_what_was_left_open_is_rolled_back_before_it_changes_hands(
    pool_of: Callable[..., Pool],
) -> None:
    pool = pool_of()
    first = pool.checkout()
    connection = first.connection
    connection.state = ConnectionState.IN_TRANSACTION
    first.claim.put_down(FREE)
    second = pool.checkout(timeout=0)
    assert (second.connection, connection.state) == (connection, ConnectionState.IDLE)
    second.release()


def test_one_that_cannot_be_cleaned_is_replaced(
    pool_of: Callable[..., Pool], driver: FakeDriver
) -> None:
    pool = pool_of()
    first = quiescent(pool)
    driver.connections[0].state = ConnectionState.UNUSABLE
    second = pool.checkout(timeout=0.5)
    assert not first.is_held()
    assert [connection.is_open for connection in driver.connections] == [False, True]
    second.release()


def test_an_old_one_is_replaced(pool_of: Callable[..., Pool], driver: FakeDriver) -> None:
    pool = pool_of()
    quiescent_lease = quiescent(pool)
    pool.recycle()
    second = pool.checkout(timeout=0.5)
    assert not quiescent_lease.is_held()
    assert second.connection is driver.connections[1]
    second.release()


def test_a_waiter_is_seen_by_whoever_stops_using_a_connection(
    pool_of: Callable[..., Pool], clock: ManualClock
) -> None:
    pool = pool_of()
    first = pool.checkout()
    served: list[FakeConnection] = []

    def borrow() -> None:
        lease = pool.checkout()
        served.append(lease.connection)
        lease.release()

    thread = threading.Thread(target=borrow)
    thread.start()
    clock.await_waiters()
    first.claim.put_down(FREE)
    assert pool.is_short(current_owner())
    assert first.claim.pick_up()
    first.release()
    thread.join(20)
    assert len(served) == 1


def test_a_nudge_makes_the_first_in_line_take_it(
    pool_of: Callable[..., Pool], clock: ManualClock
) -> None:
    """As a finaliser does, which may not give anything back itself."""
    pool = pool_of()
    first = pool.checkout()
    thread = threading.Thread(target=lambda: pool.checkout().release())
    thread.start()
    clock.await_waiters()
    first.claim.put_down(FREE)
    pool.nudge()
    thread.join(20)
    assert (first.is_held(), pool.stats().reclaimed) == (False, 1)


def test_a_waiter_that_joins_while_a_hold_ends_finds_the_token(
    pool_of: Callable[..., Pool],
) -> None:
    """The owner looked at the queue before the waiter was in it: the waiter looks again."""
    pool = pool_of()
    first = pool.checkout()
    ledger = pool._ledger
    waiters = ledger.waiters

    class Queue(type(waiters)):  # type: ignore[misc]
        def append(self, waiter: Any) -> None:
            first.claim.put_down(FREE)
            assert not pool.is_short(current_owner())  # So the owner goes its way.
            super().append(waiter)

    ledger.waiters = Queue(waiters)
    second = pool.checkout(timeout=5)
    assert not first.is_held()
    second.release()


def test_suspended_pools_take_nothing(pool_of: Callable[..., Pool]) -> None:
    pool = pool_of()
    first = quiescent(pool)
    pool.suspend()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    assert first.claim.pick_up()
    first.release()
