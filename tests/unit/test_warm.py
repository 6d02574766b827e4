"""Warm: idle, and reserved for its owner until its unit of work ends."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.owner import here
from django_connmgr._pool.scope import Scope
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Pool, ScriptedLock, Worker, borrow, fill, picture


def leave_warm(pool: Pool, scope: Scope | None = None) -> Any:
    """A slot that is warm for the calling thread."""
    lease = pool.acquire(scope=scope)
    slot = lease.slot
    lease.release(is_warm=True)
    return slot


def assert_cold(pool: Pool, slot: Any, idle: int = 1) -> None:
    """It is idle and anybody's, and nobody remembers it as theirs."""
    assert picture(pool) == {"idle": idle}
    assert (slot.owner, slot.scope, slot.lease) == (None, None, None)
    assert (slot in pool._state.cold, slot in pool._state.warm) == (True, False)
    assert slot not in here.owner.held
    assert pool.retake(slot) is None


# Its owner


def test_its_owner_takes_it_again(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool()
    slot = leave_warm(pool)
    assert picture(pool) == {"idle": 1, "warm": 1}
    lease = pool.retake(slot)
    assert lease is not None
    assert (lease.connection, picture(pool)) == (driver.connections[0], {"leased": 1})
    lease.release(is_warm=True)
    assert (picture(pool), driver.checks, driver.resets) == ({"idle": 1, "warm": 1}, 0, 0)


def test_taking_it_again_is_no_checkout(make_pool: MakePool, clock: ManualClock) -> None:
    """But the connection is held, and that is counted."""
    pool = make_pool()
    slot = leave_warm(pool)
    before = pool.stats()
    lease = pool.retake(slot)
    assert lease is not None
    clock.advance(2)
    lease.release(is_warm=True)
    after = pool.stats()
    assert (before.checkouts, after.checkouts, after.waits) == (1, 1, before.waits)
    assert (before.hold_seconds, after.hold_seconds) == (0.0, 2.0)


def test_an_acquire_of_its_owner_s_takes_it_before_a_cold_one(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    fill(pool, 1)
    slot = lease.slot
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 2, "warm": 1}
    lease = pool.acquire()
    held = lease.slot
    lease.release()
    assert (held is slot, picture(pool)) == (True, {"idle": 2})


def test_nobody_but_its_owner_retakes_it(make_pool: MakePool) -> None:
    pool = make_pool()
    slot = leave_warm(pool)
    assert Worker(lambda: pool.retake(slot)).result() is None
    assert picture(pool) == {"idle": 1, "warm": 1}


def test_it_is_not_retaken_while_it_is_leased(make_pool: MakePool) -> None:
    """By its owner itself, for example: a second lease would be a second user."""
    pool = make_pool()
    lease = pool.acquire()
    assert pool.retake(lease.slot) is None  # type: ignore[arg-type]
    assert picture(pool) == {"leased": 1}
    lease.release()


def test_what_another_took_meanwhile_is_not_retaken(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    slot = leave_warm(pool)
    other = Borrower(pool)
    other.await_served()
    assert pool.retake(slot) is None
    other.release()
    assert pool.retake(slot) is None
    other.give_back()


def test_a_connection_that_the_server_hung_up_on_is_not_retaken(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """``acquire()`` sees to it: that checks it and opens another."""
    pool = make_pool()
    slot = leave_warm(pool)
    driver.connections[0].kill()
    assert pool.retake(slot) is None
    assert picture(pool) == {"idle": 1, "warm": 1}
    assert borrow(pool) is driver.connections[1]
    assert (driver.checks, pool.stats().closed) == (1, {"check_failed": 1})


def test_a_connection_that_lay_for_longer_than_check_after_is_not_retaken(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(check_after=30)
    slot = leave_warm(pool)
    clock.advance(30)
    lease = pool.retake(slot)
    assert lease is not None
    lease.release(is_warm=True)
    clock.advance(30.1)
    assert pool.retake(slot) is None
    lease = pool.acquire()
    assert (lease.slot is slot, driver.checks) == (True, 1)
    lease.release()


@pytest.mark.parametrize(
    ("steer", "reason"),
    [
        (lambda pool: pool.recycle(), "recycled"),
        (lambda pool: pool.close(), "pool_closed"),
        (lambda pool: pool.shut_down(), "pool_closed"),
    ],
    ids=["recycle", "close", "shut_down"],
)
def test_what_the_pool_has_condemned_is_closed_and_not_retaken(
    make_pool: MakePool, driver: FakeDriver, steer: Callable[[Pool], None], reason: str
) -> None:
    pool = make_pool()
    slot = leave_warm(pool)
    steer(pool)
    assert (picture(pool), driver.open(), pool.stats().closed) == ({}, [], {reason: 1})
    assert pool.retake(slot) is None
    assert slot not in here.owner.held


def test_a_smaller_pool_closes_warm_ones_too(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=2)
    other = Borrower(pool, is_warm=True)
    other.await_served()
    leave_warm(pool)
    other.release()
    assert picture(pool) == {"idle": 2, "warm": 2}
    pool.resize(1)
    assert picture(pool) == {"idle": 1, "warm": 1}
    assert len(driver.open()) == 1
    other.give_back()


# Others


def test_others_take_a_cold_one_first(make_pool: MakePool) -> None:
    pool = make_pool()
    (cold,) = fill(pool, 1)
    lease = pool.acquire()  # Holds the cold one, so that a second is opened.
    warm = leave_warm(pool)
    lease.release()
    assert Worker(lambda: borrow(pool)).result() is cold
    assert (picture(pool), pool.stats().reclaimed) == ({"idle": 2, "warm": 1}, 0)
    assert warm.owner is here.owner


def test_others_open_another_if_there_is_no_cold_one(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=2)
    slot = leave_warm(pool)
    assert Worker(lambda: borrow(pool)).result() is driver.connections[1]
    assert (picture(pool), pool.stats().reclaimed) == ({"idle": 2, "warm": 1}, 0)
    assert slot.owner is here.owner


def test_others_take_it_when_the_pool_is_full(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)
    slot = leave_warm(pool)
    other = Borrower(pool, timeout=0)
    assert other.await_served() is driver.connections[0]
    assert (picture(pool), pool.stats().reclaimed, pool.stats().opened) == ({"leased": 1}, 1, 1)
    assert slot not in here.owner.held
    other.give_back()


def test_they_take_the_one_that_lay_longest(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=3)
    owners = [Borrower(pool, is_warm=True) for _ in range(3)]
    connections = [owner.await_served() for owner in owners]
    for index in (1, 0, 2):
        owners[index].release()
        clock.advance(1)
    taken = pool.acquire(timeout=0)
    assert taken.connection is connections[1]
    assert (picture(pool), pool.stats().reclaimed) == ({"idle": 2, "warm": 2, "leased": 1}, 1)
    taken.release()
    for owner in owners:
        owner.give_back()


def test_use_makes_it_the_last_to_be_taken(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=2)
    mine = leave_warm(pool)
    other = Borrower(pool, is_warm=True)
    theirs = other.await_served()
    other.release()
    lease = pool.retake(mine)
    assert lease is not None
    lease.release(is_warm=True)
    assert Worker(lambda: borrow(pool)).result() is theirs
    other.give_back()


def test_without_reclaim_nobody_else_takes_it(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1, reclaim=False)
    slot = leave_warm(pool)
    with pytest.raises(PoolTimeout):
        Worker(lambda: pool.acquire(timeout=0)).result()
    assert (picture(pool), pool.stats().reclaimed) == ({"idle": 1, "warm": 1}, 0)
    lease = pool.retake(slot)
    assert lease is not None
    lease.release()


def test_without_reclaim_it_is_released_warm_although_others_wait(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, reclaim=False)
    lease = pool.acquire()
    slot: Any = lease.slot
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 1, "warm": 1, "waiting": 1}
    lease = pool.retake(slot)  # type: ignore[assignment]
    assert lease is not None
    lease.release()
    waiting.give_back()
    assert pool.stats().reclaimed == 0


@pytest.mark.parametrize("how", ["cool", "scope", "owner", "close"])
def test_without_reclaim_a_waiter_gets_it_when_it_is_cold(
    make_pool: MakePool, clock: ManualClock, how: str
) -> None:
    pool = make_pool(max_size=1, reclaim=False)
    scope = Scope("GET /")
    owner = Borrower(pool, is_warm=True, scope=scope)
    owner.release()
    waiting = Borrower(pool)
    clock.await_waiters()
    if how == "scope":
        scope.end()
    elif how == "owner":
        owner.give_back()
    else:
        slot = next(iter(pool._state.slots))
        if how == "close":
            pool.recycle()
        else:
            with pool._lock:
                pool._state.cool_locked(slot, slot.owner)  # type: ignore[arg-type]
            pool._core.run(pool._state.serve_locked)
    waiting.give_back()
    owner.give_back()


def test_a_release_hands_over_to_a_waiter_before_it_keeps_anything_warm(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    slot: Any = lease.slot
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release(is_warm=True)
    waiting.await_served()
    assert (picture(pool), pool.retake(slot), pool.stats().reclaimed) == ({"leased": 1}, None, 0)
    waiting.give_back()


def test_what_lay_for_too_long_to_be_retaken_is_still_its_own_before_a_cold_one(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """Or the thread would have two: the one that it uses, and the one that nobody uses."""
    pool = make_pool(max_size=2, check_after=30)
    lease = pool.acquire()
    slot: Any = lease.slot
    fill(pool, 1)
    lease.release(is_warm=True)
    clock.advance(40)
    assert pool.retake(slot) is None
    lease = pool.acquire()
    held = lease.slot
    lease.release()
    assert (held is slot, picture(pool), driver.checks) == (True, {"idle": 2}, 1)


# Idle is idle


def test_it_is_closed_after_max_idle(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """So a thread that stopped asking costs nothing."""
    pool = make_pool(max_idle=300)
    slot = leave_warm(pool)
    clock.advance(299)
    pool.maintain()
    assert picture(pool) == {"idle": 1, "warm": 1}
    clock.advance(1)
    pool.maintain()
    assert (picture(pool), driver.open(), pool.stats().closed) == ({}, [], {"idle": 1})
    assert (pool.retake(slot), slot in here.owner.held) == (None, False)


def test_it_is_closed_after_max_lifetime(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_lifetime=100, max_idle=0)
    leave_warm(pool)
    clock.advance(100)
    pool.maintain()
    assert (picture(pool), driver.open(), pool.stats().closed) == ({}, [], {"lifetime": 1})


def test_upkeep_leaves_it_warm(make_pool: MakePool, clock: ManualClock, driver: FakeDriver) -> None:
    pool = make_pool(keepalive=60, max_idle=0, check_after=100)
    slot = leave_warm(pool)
    clock.advance(60)
    pool.maintain()
    assert (picture(pool), driver.checks) == ({"idle": 1, "warm": 1}, 1)
    lease = pool.retake(slot)
    assert lease is not None
    lease.release()


def test_while_upkeep_works_on_it_it_is_nobody_s_and_then_warm_again(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(keepalive=60, max_idle=0, check_after=100)
    slot = leave_warm(pool)
    clock.advance(60)
    retaken: list[object] = []
    driver.on_check = lambda connection: retaken.append(pool.retake(slot))
    pool.maintain()
    assert (retaken, picture(pool)) == ([None], {"idle": 1, "warm": 1})


@pytest.mark.parametrize("how", ["cool", "scope", "suspend"])
def test_what_is_cooled_while_upkeep_works_on_it_is_cold_after(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver, how: str
) -> None:
    pool, scope = make_pool(keepalive=60, max_idle=0), Scope("GET /")
    slot = leave_warm(pool, scope)
    clock.advance(60)
    cooling: dict[str, Callable[[], object]] = {
        "cool": lambda: pool.cool(slot),
        "scope": scope.end,
        "suspend": pool.suspend,
    }
    went: list[object] = []
    driver.on_check = lambda connection: went.append(cooling[how]())
    pool.maintain()
    pool.resume()
    assert not went[0]
    assert_cold(pool, slot)
    assert scope.slots == {}


# Cooling


def test_its_owner_cools_it(make_pool: MakePool) -> None:
    pool = make_pool()
    slot = leave_warm(pool)
    assert pool.cool(slot) is True
    assert_cold(pool, slot)
    assert pool.cool(slot) is False


def test_another_thread_does_not_cool_it(make_pool: MakePool) -> None:
    pool = make_pool()
    slot = leave_warm(pool)
    assert Worker(lambda: pool.cool(slot)).result() is False
    assert picture(pool) == {"idle": 1, "warm": 1}


def test_what_is_leased_is_not_cooled(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    assert pool.cool(lease.slot) is False  # type: ignore[arg-type]
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 1, "warm": 1}


def test_the_end_of_its_owner_cools_it(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    owner = Borrower(pool, is_warm=True)
    owner.release()
    assert picture(pool) == {"idle": 1, "warm": 1}
    owner.give_back()
    pool.maintain()
    assert (picture(pool), pool.stats().reaped) == ({"idle": 1}, 0)
    assert Worker(lambda: borrow(pool)).result().number == 1  # A cold one is anybody's.
    assert pool.stats().reclaimed == 0


def test_an_acquire_takes_what_a_dead_thread_left_warm_before_it_opens_another(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """The next pass takes in that it is cold, on whichever thread."""
    pool = make_pool(max_size=2)
    Worker(lambda: borrow(pool, is_warm=True)).result()
    assert pool.has_lost()
    assert borrow(pool) is driver.connections[0]
    assert (pool.stats().opened, pool.stats().reclaimed) == (1, 0)


@pytest.mark.parametrize("reclaim", [True, False])
def test_the_end_of_its_owner_serves_a_waiter(
    make_pool: MakePool, clock: ManualClock, reclaim: bool
) -> None:
    pool = make_pool(max_size=1, reclaim=reclaim)
    owner = Borrower(pool, is_warm=True)
    owner.await_served()
    waiting = Borrower(pool)
    clock.await_waiters()
    owner.give_back()
    waiting.give_back()


def test_a_suspended_pool_keeps_nothing_warm(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=3)
    idle = leave_warm(pool)
    kept, used = Borrower(pool, is_warm=True), Borrower(pool, is_warm=True)
    kept.await_served()
    used.await_served()
    pool.suspend()
    kept.release()
    assert picture(pool) == {"idle": 2, "leased": 1}
    assert pool.retake(idle) is None
    pool.resume()
    used.release()  # It was leased before: its owner may have seen another server.
    assert_cold(pool, idle, 3)
    kept.give_back()
    used.give_back()
    leave_warm(pool)
    assert picture(pool) == {"idle": 3, "warm": 1}


def test_what_is_released_while_the_pool_is_suspended_is_cold(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    slot = lease.slot
    pool.suspend()
    lease.release(is_warm=True)
    pool.resume()
    assert_cold(pool, slot)


# Releasing


def test_what_its_owner_left_open_is_cleaned_before_it_lies_warm(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    lease.release(is_warm=True)
    assert (picture(pool), driver.resets) == ({"idle": 1, "warm": 1}, 1)
    assert driver.connections[0].state is ConnectionState.IDLE


def test_rest_leaves_what_is_not_clean_to_its_borrower(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.acquire()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    assert pool.rest(lease, lease.slot) is False
    assert (picture(pool), lease.is_held(), driver.resets) == ({"leased": 1}, True, 0)
    lease.connection.state = ConnectionState.IDLE
    assert pool.rest(lease, lease.slot) is True
    assert (picture(pool), lease.is_held()) == ({"idle": 1, "warm": 1}, False)
    assert pool.rest(lease, lease.slot) is False


def test_rest_says_whether_it_lies_in_the_pool(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    assert pool.rest(lease, lease.slot) is False  # The waiter has it.
    waiting.give_back()
    lease = pool.acquire()
    pool.recycle()
    assert pool.rest(lease, lease.slot) is False  # It is closed.
    assert (picture(pool), lease.is_held()) == ({}, False)


def test_a_connection_of_an_older_generation_is_not_kept_warm(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    pool.recycle()
    lease.release(is_warm=True)
    assert (picture(pool), pool.stats().closed) == ({}, {"recycled": 1})


def test_a_shared_lease_is_nobody_s_to_be_warm_for(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.acquire()
    pool.share(lease)
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 1}
    pool.acquire(timeout=0).release()


def test_a_thread_may_have_several(make_pool: MakePool) -> None:
    """On one pool, as when two wrappers of one alias work on it."""
    pool = make_pool(max_size=2)
    leases = [pool.acquire(), pool.acquire()]
    slots: list[Any] = [lease.slot for lease in leases]
    for lease in leases:
        lease.release(is_warm=True)
    assert picture(pool) == {"idle": 2, "warm": 2}
    for slot in slots:
        lease = pool.retake(slot)  # type: ignore[assignment]
        assert lease is not None
        assert lease.slot is slot
        lease.release()


# Forced races


@pytest.mark.parametrize("taker", ["another thread", "upkeep", "close"])
def test_a_retake_that_comes_a_moment_too_late_gets_nothing(
    make_pool: MakePool, driver: FakeDriver, taker: str
) -> None:
    pool = make_pool(max_size=1)
    slot = leave_warm(pool)
    others: list[Borrower] = []

    def take() -> None:
        if taker == "another thread":
            others.append(Borrower(pool))
            others[0].await_served()
        elif taker == "upkeep":
            with pool._lock:
                others.append(pool._state.claim_locked(slot))  # type: ignore[arg-type]
        else:
            pool.close()

    lock = ScriptedLock(pool, {1: take})
    assert pool.retake(slot) is None
    assert lock.takings == 1
    for other in others:
        if isinstance(other, Borrower):
            other.give_back()
        else:
            with pool._lock:
                pool._state.put_back_locked(other, slot, 0.0)


def test_the_scope_ends_while_the_connection_is_being_looked_at(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """The look after a retake finds something, and gives back what is cold by then."""
    pool, scope = make_pool(max_size=1), Scope("GET /")
    slot = leave_warm(pool, scope)

    def watch() -> bool:
        Worker(scope.end).result()
        return True

    slot.watch = watch
    assert pool.retake(slot) is None
    slot.watch = driver.connections[0].has_news
    assert_cold(pool, slot)


def test_a_finaliser_that_ended_its_use_is_heard_before_a_waiter_sleeps(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    slot: Any = lease.slot
    waiting = Borrower(pool)
    clock.await_waiters()
    slot.lost.report(slot, slot.lease, was_forgotten=False)
    waiting.give_back()
    gc.collect()
    assert pool.stats().reaped == 0


def test_connections_are_never_used_by_two(make_pool: MakePool, driver: FakeDriver) -> None:
    """Many threads that leave them warm, in a pool that is full."""
    pool = make_pool(max_size=3, timeout=1000)
    in_use: list[FakeConnection] = []  # Appended to and removed from by the user alone.

    def work() -> None:
        scope = Scope("task")
        turns = itertools.count()
        for _ in range(60):
            turn = next(turns)
            lease = pool.acquire(scope=scope)
            while lease is not None:
                connection, slot = lease.connection, lease.slot
                assert connection not in in_use
                in_use.append(connection)
                assert in_use.count(connection) == 1
                in_use.remove(connection)
                lease.release(is_warm=bool(turn % 5))
                lease = pool.retake(slot) if turn % 3 == 0 else None  # type: ignore[assignment]
                turn = next(turns)
        scope.end()

    for worker in [Worker(work) for _ in range(12)]:
        worker.result()
    assert driver.most_open <= 3
    pool.maintain()
    assert picture(pool) == {"idle": len(driver.open())}
