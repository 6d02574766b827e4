"""A lease is the right to use one connection, once: what is over stays over."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr._pool.errors import PoolError
from django_connmgr._pool.lease import Lease
from django_connmgr._pool.owner import here
from django_connmgr._pool.scope import Scope
from django_connmgr.testing import FakeConnection

from .conftest import MakePool
from .helpers import Pool, Worker, borrow, keep, picture

OVER = (
    "This lease is over: it was released, its thread ended, another thread ended its unit of "
    "work, or the process forked. Acquire another."
)

Misuse = Callable[[Lease[FakeConnection]], object]

MISUSES = pytest.mark.parametrize(
    "misuse",
    [
        lambda lease: lease.release(),
        lambda lease: lease.release(is_warm=True),
        lambda lease: lease.discard(),
        lambda lease: lease.connection,
        lambda lease: lease.pool.share(lease),
    ],
    ids=["release", "release warm", "discard", "connection", "share"],
)


def assert_over(pool: Pool, lease: Lease[FakeConnection], misuse: Misuse) -> None:
    """It says so, in one sentence, and nothing becomes of it."""
    before = repr(pool), dict(pool.stats().closed), pool.stats().hold_seconds
    with pytest.raises(PoolError) as caught:
        misuse(lease)
    assert str(caught.value) == OVER
    assert (repr(pool), dict(pool.stats().closed), pool.stats().hold_seconds) == before
    assert (lease.is_held(), lease.slot) == (False, None)
    assert (keep(pool, lease), pool.use(lease)) == (False, False)


@MISUSES
@pytest.mark.parametrize(
    "end",
    [
        lambda lease: lease.release(),
        lambda lease: lease.release(is_warm=True),
        lambda lease: lease.discard(),
    ],
    ids=["released", "released warm", "discarded"],
)
def test_a_lease_that_was_given_back_cannot_be_used(
    make_pool: MakePool, end: Misuse, misuse: Misuse
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    end(lease)
    assert_over(pool, lease, misuse)


@MISUSES
def test_a_lease_whose_thread_ended_cannot_be_used(make_pool: MakePool, misuse: Misuse) -> None:
    pool = make_pool()
    lease = Worker(pool.acquire).result()
    pool.maintain()
    assert picture(pool) == {"idle": 1}
    assert_over(pool, lease, misuse)


@MISUSES
def test_a_kept_lease_whose_unit_another_thread_ended_cannot_be_used(
    make_pool: MakePool, misuse: Misuse
) -> None:
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    assert keep(pool, lease)
    assert Worker(scope.end).result() == 1
    assert picture(pool) == {"idle": 1}
    assert_over(pool, lease, misuse)


@MISUSES
def test_a_lease_of_the_parent_s_cannot_be_used_after_a_fork(
    make_pool: MakePool, misuse: Misuse
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    pool.after_fork()
    assert picture(pool) == {}
    assert_over(pool, lease, misuse)
    for connection in pool.driver.connections:  # type: ignore[attr-defined]
        assert connection.is_abandoned
        assert connection.is_open
        connection.is_open = False  # It was the parent's.


def test_a_lease_that_is_over_cannot_release_the_next_owner_s_connection(
    make_pool: MakePool,
) -> None:
    """A returned connection is never touched again by its previous owner."""
    pool = make_pool(max_size=1)
    old = pool.acquire()
    old.release()
    new = pool.acquire()
    with pytest.raises(PoolError):
        old.release()
    assert (old.is_held(), new.is_held()) == (False, True)
    assert picture(pool) == {"leased": 1}
    new.release()


def test_each_acquire_and_each_retake_has_a_lease_of_its_own(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    first = pool.acquire()
    slot = first.slot
    first.release(is_warm=True)
    second = pool.retake(slot)
    assert second is not None
    assert second is not first
    second.release(is_warm=True)
    third = pool.acquire()
    assert third not in (first, second)
    assert [lease.is_held() for lease in (first, second, third)] == [False, False, True]
    third.release()


def test_a_collected_lease_does_not_take_the_slot_from_the_next_one(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    old = pool.acquire()
    old.release()
    new = pool.acquire()
    del old
    gc.collect()
    pool.maintain()
    assert (picture(pool), new.is_held(), pool.stats().reaped) == ({"leased": 1}, True, 0)
    new.release()


def test_a_lease_has_no_connection_before_that_is_open(make_pool: MakePool) -> None:
    pool = make_pool()
    lease: Lease[FakeConnection] = Lease(pool)
    with pool._lock:
        assert pool._state.reserve_locked(lease, here.owner, None, 0.0)
    with pytest.raises(PoolError) as caught:
        _ = lease.connection
    assert str(caught.value) == (
        "This lease has no connection yet: use it when acquire() has returned."
    )
    assert picture(pool) == {"connecting": 1}
    lease.discard()
    assert picture(pool) == {}


def test_a_lease_says_whether_it_is_over(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    assert repr(lease) == "<Lease of pool 'test', held>"
    assert repr(lease.slot) == "<Slot leased generation=1>"
    lease.release()
    assert repr(lease) == "<Lease of pool 'test', over>"
    borrow(pool)


def test_the_pool_does_not_keep_a_lease_alive(make_pool: MakePool) -> None:
    """Or the finaliser of one that was forgotten would never run."""
    pool = make_pool(max_size=1)
    lease: Any = pool.acquire()
    assert gc.get_referrers(lease) == []
    lease.release()


# Kept: leased, and not being used


def test_a_kept_lease_stays_its_owner_s(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    assert keep(pool, lease)
    (record,) = pool.leases()
    assert (record.state, picture(pool)) == ("kept", {"leased": 1})
    assert Worker(lambda: pool._state.cold or pool._state.warm).result() == {}
    assert pool.use(lease)
    (record,) = pool.leases()
    assert (record.state, lease.is_held()) == ("leased", True)
    lease.release()


def test_nothing_is_kept_of_a_unit_that_is_over(make_pool: MakePool) -> None:
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    scope.end()
    assert not keep(pool, lease)
    assert picture(pool) == {"leased": 1}
    lease.release()


def test_a_kept_lease_is_released_as_any(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    keep(pool, lease)
    lease.release()
    assert picture(pool) == {"idle": 1}
