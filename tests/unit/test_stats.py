from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable

import pytest

from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.lease import Lease
from django_connmgr._pool.owner import here
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.state import PoolStatus
from django_connmgr._pool.stats import LeaseRecord
from django_connmgr._pool.waiter import Waiter
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Pool, Worker, borrow, keep, picture


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
        "warm": 0,
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
    lease = pool.acquire()
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
        pool.acquire()
    stats = pool.stats()
    assert (stats.connect_failures, stats.connect_seconds, stats.opened) == (1, 4.0, 0)
    assert stats.checkouts == 0


def test_timeouts_are_counted(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)
    stats = pool.stats()
    assert (stats.timeouts, stats.waits, stats.checkouts, stats.waiting) == (1, 1, 1, 0)
    lease.release()


def test_a_discarded_connection_was_held_as_long_as_it_was(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    clock.advance(5)
    lease.discard()
    dropped = pool.acquire()
    clock.advance(2)
    del dropped
    gc.collect()
    pool.maintain()
    assert pool.stats().hold_seconds == 7.0


def test_stats_are_one_moment_and_do_not_change(make_pool: MakePool) -> None:
    pool = make_pool()
    before = pool.stats()
    pool.acquire().discard()
    assert (before.size, before.checkouts, before.closed) == (0, 0, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.size = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        before.closed["idle"] = 1  # type: ignore[index]


# Looking changes nothing


def snapshot(pool: Pool) -> tuple[object, ...]:
    """All that the pool knows, field by field, in order."""
    state = pool._state
    slots = [
        (
            slot,
            *(
                getattr(slot, name)
                for name in type(slot).__slots__
                if name not in {"watch", "on_lease_collected"} and hasattr(slot, name)
            ),
        )
        for slot in state.slots
    ]
    counters = dict(vars(state.counters))
    counters["closed"] = dict(state.counters.closed)
    others = {
        name: value
        for name, value in vars(state).items()
        if isinstance(value, (int, float, str, bool, PoolStatus))
    }
    return (
        slots,
        counters,
        others,
        [list(table) for table in (state.connecting, state.cold, state.warm, state.waiters)],
        list(state.lost.queue),
        state.lost.first,
        vars(state.growth).copy(),
        list(here.owner.held),
    )


LOOKS = pytest.mark.parametrize(
    "look",
    [
        lambda pool: pool.stats(),
        lambda pool: pool.leases(),
        lambda pool: pool.leases(stacks=True),
        repr,
        lambda pool: pool.has_lost(),
        lambda pool: pool.reap_interval,
    ],
    ids=["stats", "leases", "leases with stacks", "repr", "has_lost", "reap_interval"],
)


@LOOKS
def test_a_look_changes_nothing(
    make_pool: MakePool, clock: ManualClock, look: Callable[[Pool], object]
) -> None:
    """With a slot in every state, a waiter, and reports that no pass has taken in yet."""
    pool, scope = make_pool(max_size=7, max_idle=5, reclaim=False, leak_threshold=1.0), Scope("x")
    leases = [pool.acquire(scope=scope) for _ in range(7)]
    leases.pop().release()
    leases.pop().release(is_warm=True)
    keep(pool, leases[0])
    del leases[-1]
    gc.collect()
    doomed = Worker(pool.acquire).result()
    slot = leases[1].slot
    assert slot is not None
    slot.lost.report(slot, slot.lease, was_forgotten=False)
    pool.suspend()
    waiting: Lease[FakeConnection] = Lease(pool)
    waiter = Waiter(waiting, here.owner, scope, clock.now(), 5.0)  # That no thread wakes for.
    pool._state.waiters[waiter] = None
    pool._state.lost.first = waiter
    del leases[-1]
    gc.collect()
    clock._now += 10
    assert pool.has_lost()
    before = snapshot(pool)
    look(pool)
    for one, other in zip(snapshot(pool), before, strict=True):
        assert one == other
    pool.resume()
    assert waiter.is_out
    waiting.release()
    leases.clear()
    gc.collect()
    pool.maintain()
    assert not doomed.is_held()


def test_what_finalisers_have_given_back_is_seen_as_idle(make_pool: MakePool) -> None:
    """Although no pass has taken it in yet."""
    pool = make_pool()
    borrow(pool)
    held = pool.acquire()
    lease = pool.acquire()
    del lease
    gc.collect()
    assert (picture(pool), len(pool.leases())) == ({"idle": 1, "leased": 1}, 1)
    pool.maintain()
    assert (picture(pool), len(pool.leases())) == ({"idle": 1, "leased": 1}, 1)
    held.release()


# Leases


def test_leases_tell_who_has_what_longest_held_first(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool, scope = make_pool(max_size=4), Scope("GET /orders/")
    kept = pool.acquire(scope=scope)
    clock.advance(1)
    used = Borrower(pool, name="other")
    used.await_served()
    keep(pool, kept)
    clock.advance(2)
    warm = pool.acquire()
    warm.release(is_warm=True)
    seen: list[list[LeaseRecord]] = []
    driver.on_connect = lambda: seen.append(pool.leases())
    third = Borrower(pool, name="third")
    third.await_served()
    ((first, second, connecting),) = seen  # What is warm is not leased.
    assert (first.owner, first.state, first.unit, first.held_for, first.idle_for) == (
        "MainThread",
        "kept",
        "GET /orders/",
        3.0,
        2.0,
    )
    assert (second.owner, second.state, second.held_for, second.backend_pid) == (
        "other",
        "leased",
        2.0,
        2,
    )
    assert (connecting.owner, connecting.state, connecting.is_alive) == (
        "third",
        "connecting",
        True,
    )
    for borrower in (used, third):
        borrower.give_back()
    kept.release()


def test_leases_tell_where_their_owners_are_if_they_are_asked(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    ((with_stack,), (without,)) = pool.leases(stacks=True), pool.leases()
    assert "test_leases_tell_where_their_owners_are" in with_stack.stack
    assert without.stack == ""
    lease.release()
