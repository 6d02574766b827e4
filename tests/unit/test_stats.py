from __future__ import annotations

import dataclasses

import pytest

from django_connmgr import PoolTimeout
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, borrow


def test_the_numbers_of_a_pool_that_nobody_used(make_pool: MakePool) -> None:
    stats = make_pool(max_size=7, min_size=2).stats()
    assert {name: getattr(stats, name) for name in vars(stats)} == {
        "name": "test",
        "status": "open",
        "generation": 1,
        "max_size": 7,
        "min_size": 2,
        "size": 0,
        "connecting": 0,
        "idle": 0,
        "leased": 0,
        "maintenance": 0,
        "waiting": 0,
        "checkouts": 0,
        "waits": 0,
        "wait_seconds": 0.0,
        "timeouts": 0,
        "rejected": 0,
        "reaped": 0,
        "reclaimed": 0,
        "dedicated": 0,
        "session_holds": 0,
        "checks": 0,
        "opened": 0,
        "connect_failures": 0,
        "connect_seconds": 0.0,
        "closed": {},
        "hold_seconds": 0.0,
    }


def test_seconds_are_counted_where_they_are_spent(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    driver.on_connect = lambda: clock.advance(2)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    clock.advance(3)
    clock.await_waiters()
    lease.release()
    waiting.give_back()
    stats = pool.stats()
    assert (stats.connect_seconds, stats.hold_seconds, stats.wait_seconds) == (2.0, 3.0, 3.0)
    assert (stats.checkouts, stats.waits, stats.opened) == (2, 1, 1)


def test_connects_that_fail_take_time_too(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool()

    def fail() -> None:
        clock.advance(4)
        raise OSError("no route")

    driver.on_connect = fail
    with pytest.raises(OSError):
        pool.checkout()
    stats = pool.stats()
    assert (stats.connect_failures, stats.connect_seconds, stats.opened) == (1, 4.0, 0)
    assert stats.checkouts == 0


def test_timeouts_are_counted(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    stats = pool.stats()
    assert (stats.timeouts, stats.waits, stats.checkouts, stats.waiting) == (1, 1, 1, 0)
    lease.release()


def test_a_discarded_connection_was_held_as_long_as_it_was(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    clock.advance(5)
    lease.discard()
    dropped = pool.checkout()
    clock.advance(2)
    del dropped
    assert pool.stats().hold_seconds == 7.0


def test_stats_are_one_moment_and_do_not_change(make_pool: MakePool) -> None:
    pool = make_pool()
    before = pool.stats()
    pool.checkout().discard()
    assert (before.size, before.checkouts, before.closed) == (0, 0, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.size = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        before.closed["idle"] = 1  # type: ignore[index]


def test_what_was_lost_is_taken_back_before_it_is_counted(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    del lease
    stats = pool.stats()
    assert (stats.leased, stats.idle, stats.reaped) == (0, 1, 1)
    borrow(pool)
