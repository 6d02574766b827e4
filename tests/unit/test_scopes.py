"""A unit of work knows what was leased in it, on every thread, and gives it back at its end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.owner import here
from django_connmgr._pool.scope import OVER, RUNNING, Scope
from django_connmgr.testing import FakeDriver, ManualClock
from django_connmgr.units.unit import Unit

from .conftest import MakePool
from .helpers import Borrower, Pool, ScriptedLock, Worker, borrow, keep, picture

End = Callable[[Any], object]

#: The end of a unit, by whom it is and how it comes.
ENDS = pytest.mark.parametrize("end", [Scope.end, Scope.become_eager], ids=["end", "eager"])


def leave_warm(pool: Pool, scope: Scope) -> Any:
    lease = pool.acquire(scope=scope)
    slot = lease.slot
    lease.release(is_warm=True)
    return slot


def test_a_new_one_knows_nothing() -> None:
    scope = Scope("GET /")
    assert (scope.name, scope.state, scope.slots, dict(scope.takes)) == ("GET /", RUNNING, {}, {})
    assert scope.end() == 0
    assert scope.state is OVER


# Its end


@ENDS
def test_its_end_cools_what_is_warm_for_it(make_pool: MakePool, end: End) -> None:
    pool, scope = make_pool(), Scope("GET /")
    slot = leave_warm(pool, scope)
    assert (picture(pool), list(scope.slots)) == ({"idle": 1, "warm": 1}, [slot])
    assert end(scope) == 1
    assert (picture(pool), scope.slots, slot.scope) == ({"idle": 1}, {}, None)
    assert (pool.retake(slot), slot in here.owner.held) == (None, False)
    assert end(scope) == 0


@ENDS
def test_its_end_releases_what_is_kept_for_it(
    make_pool: MakePool, driver: FakeDriver, end: End
) -> None:
    """Clean: a transaction that was left open, as by a view that died, is rolled back."""
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    lease.connection.state = ConnectionState.IN_TRANSACTION
    assert keep(pool, lease)
    assert end(scope) == 1
    assert (picture(pool), lease.is_held(), scope.slots) == ({"idle": 1}, False, {})
    assert (driver.connections[0].rollbacks, driver.resets) == (1, 1)
    assert pool.stats().checkouts == 1


@ENDS
def test_its_end_leaves_what_is_in_use_until_its_use_ends(make_pool: MakePool, end: End) -> None:
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    assert end(scope) == 0
    assert (picture(pool), lease.is_held()) == ({"leased": 1}, True)
    assert not keep(pool, lease)
    lease.release(is_warm=True)
    assert (picture(pool), scope.slots) == ({"idle": 1}, {})


@ENDS
def test_its_end_reaches_every_thread_and_every_pool(
    make_pool: MakePool, clock: ManualClock, end: End
) -> None:
    first, second, scope = make_pool(), make_pool(), Scope("GET /")
    others = [Borrower(pool, scope=scope, is_warm=True) for pool in (first, second)]
    in_use = Borrower(first, scope=scope, is_warm=True)
    for other in others:
        other.release()
    in_use.await_served()
    leave_warm(second, scope)
    assert (picture(first), picture(second)) == (
        {"idle": 1, "warm": 1, "leased": 1},
        {"idle": 2, "warm": 2},
    )
    assert end(scope) == 3
    assert (picture(first), picture(second)) == ({"idle": 1, "leased": 1}, {"idle": 2})
    in_use.release()
    assert picture(first) == {"idle": 2}
    for other in [*others, in_use]:
        other.give_back()
    assert scope.slots == {}


def test_its_end_touches_nothing_of_other_units(make_pool: MakePool) -> None:
    pool, outer, inner = make_pool(), Scope("outer"), Scope("inner")
    others = [Borrower(pool, scope=outer, is_warm=True), Borrower(pool, is_warm=True)]
    kept = pool.acquire(scope=outer)
    mine = pool.acquire(scope=inner)
    for other in others:
        other.release()
    keep(pool, kept)
    mine.release(is_warm=True)
    assert inner.end() == 1
    assert picture(pool) == {"idle": 3, "warm": 2, "leased": 1}
    assert outer.end() == 2
    assert picture(pool) == {"idle": 4, "warm": 1}
    for other in others:
        other.give_back()


@ENDS
def test_its_end_serves_a_waiter(make_pool: MakePool, clock: ManualClock, end: End) -> None:
    pool, scope = make_pool(max_size=1), Scope("GET /")
    lease = pool.acquire(scope=scope)
    keep(pool, lease)
    waiting = Borrower(pool)
    clock.await_waiters()
    end(scope)
    waiting.give_back()
    assert not lease.is_held()


def test_it_returns_to_its_pool_only_while_it_is_its(make_pool: MakePool) -> None:
    """The copy that its end goes through may be old by the time it comes to a slot."""
    pool, scope, other = make_pool(max_size=1), Scope("GET /"), Scope("other")
    slot = leave_warm(pool, scope)
    leave_warm(pool, other)
    assert (pool.end_scope(slot, scope), pool.end_scope(slot, other)) == (False, True)
    assert picture(pool) == {"idle": 1}


# What is leased after its end, or while it comes


@ENDS
def test_what_is_leased_after_its_end_is_not_kept_warm(make_pool: MakePool, end: End) -> None:
    """As by threads that a request leaves behind, or while its response is streamed."""
    pool, scope = make_pool(), Scope("GET /")
    end(scope)
    for is_there in (False, True):
        lease = pool.acquire(scope=scope)
        lease.release(is_warm=True)
        assert (picture(pool), scope.slots) == ({"idle": 1}, {}), is_there


@ENDS
def test_what_is_leased_after_its_end_may_be_kept_for_its_own_session_state(
    make_pool: MakePool, end: End
) -> None:
    pool, scope = make_pool(), Scope("GET /")
    end(scope)
    lease = pool.acquire(scope=scope)
    assert keep(pool, lease)
    assert scope.end() == 1
    assert (picture(pool), lease.is_held(), scope.slots) == ({"idle": 1}, False, {})


def test_one_that_is_over_does_not_become_eager(make_pool: MakePool) -> None:
    scope = Scope("GET /")
    scope.end()
    scope.become_eager()
    assert scope.state is OVER


@pytest.mark.parametrize("is_warm", [True, False])
def test_an_end_that_comes_while_a_thread_leases_is_seen_by_one_of_the_two(
    make_pool: MakePool, is_warm: bool
) -> None:
    """Right before the lock, or right after the slot was entered."""
    pool, scope = make_pool(), Scope("GET /")
    borrow(pool)
    ScriptedLock(pool, {1: scope.end})
    lease = pool.acquire(scope=scope)
    lease.release(is_warm=is_warm)
    assert picture(pool) == {"idle": 1}


@pytest.mark.parametrize("has_cold", [True, False])
def test_an_end_that_comes_right_before_the_entry_is_seen_after_it(
    make_pool: MakePool, has_cold: bool
) -> None:
    """It found nothing to give back, so it is the thread that leases that has to look."""
    pool, scope = make_pool(), Scope("GET /")
    if has_cold:
        borrow(pool)
    went: list[int] = []

    class Slots(dict[Any, Any]):
        def __setitem__(self, slot: Any, home: Any) -> None:
            went.append(scope.end())
            super().__setitem__(slot, home)

    scope.slots = Slots()
    pool.acquire(scope=scope).release(is_warm=True)
    assert (went, picture(pool)) == ([0], {"idle": 1})


def test_an_owner_that_uses_a_kept_lease_again_while_its_unit_ends_has_it_or_has_it_not(
    make_pool: MakePool,
) -> None:
    """The lock decides: before it the owner is in time, after it the lease is over."""
    pool, scope = make_pool(), Scope("GET /")
    lease = pool.acquire(scope=scope)
    keep(pool, lease)
    ScriptedLock(pool, {1: lambda: Worker(scope.end).result()})
    assert not pool.use(lease)
    assert (picture(pool), lease.is_held()) == ({"idle": 1}, False)
    scope = Scope("next")
    lease = pool.acquire(scope=scope)
    keep(pool, lease)
    ScriptedLock(pool, {1: lambda: pool.use(lease)})
    assert scope.end() == 0
    assert (picture(pool), lease.is_held()) == ({"leased": 1}, True)
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 1}


# One that nobody ends


def test_one_that_is_collected_without_an_end_gives_back_all_that_is_not_in_use(
    make_pool: MakePool,
) -> None:
    """As when a server cancels a request: Django sends no signal of its end."""
    pool, unit = make_pool(), Unit("GET /")
    warm = pool.acquire(scope=unit.scope)
    kept, used = pool.acquire(scope=unit.scope), pool.acquire(scope=unit.scope)
    warm.release(is_warm=True)
    keep(pool, kept)
    assert picture(pool) == {"idle": 1, "warm": 1, "leased": 2}
    del unit
    gc.collect()
    assert pool.has_lost()
    pool.maintain()
    assert (picture(pool), pool.stats().reaped) == ({"idle": 2, "leased": 1}, 0)
    assert (kept.is_held(), used.is_held(), keep(pool, used)) == (False, True, False)
    used.release(is_warm=True)
    assert picture(pool) == {"idle": 3}


def test_what_it_kept_is_cleaned_before_another_gets_it(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool, unit = make_pool(max_size=1), Unit("GET /")
    lease = pool.acquire(scope=unit.scope)
    lease.connection.state = ConnectionState.IN_TRANSACTION
    keep(pool, lease)
    del unit
    gc.collect()
    again = pool.acquire()
    assert (again.connection.state, again.connection.rollbacks) == (ConnectionState.IDLE, 1)
    again.release()


def test_a_waiter_gets_what_a_collected_one_had(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1, reclaim=False)
    units = [Unit("GET /")]
    leave_warm(pool, units[0].scope)
    waiting = Borrower(pool)
    clock.await_waiters()
    units.clear()
    gc.collect()
    waiting.give_back()


def test_one_that_was_ended_leaves_nothing_to_its_finaliser(make_pool: MakePool) -> None:
    pool, unit = make_pool(), Unit("GET /")
    leave_warm(pool, unit.scope)
    unit.end()
    del unit
    gc.collect()
    assert (pool.has_lost(), pool.stats().reaped) == (False, 0)


def test_late_news_of_one_do_not_touch_the_next_unit_s_slots(make_pool: MakePool) -> None:
    pool, unit = make_pool(max_size=1), Unit("GET /")
    slot = leave_warm(pool, unit.scope)
    reference = unit.scope
    other = Unit("other")
    leave_warm(pool, other.scope)
    slot.lost.report(slot, reference)
    pool.maintain()
    assert (picture(pool), list(other.scope.slots)) == ({"idle": 1, "warm": 1}, [slot])


def test_the_pool_keeps_no_unit_alive(make_pool: MakePool) -> None:
    pool, unit = make_pool(), Unit("GET /")
    lease = pool.acquire(scope=unit.scope)
    slot = leave_warm(pool, unit.scope)
    reference = weakref.ref(unit)
    del unit
    assert reference() is None
    pool.maintain()
    assert slot.owner is None
    lease.release()


@pytest.mark.parametrize("cls", [Scope, Unit])
def test_one_that_was_interrupted_at_its_birth_has_a_finaliser_all_the_same(
    cls: type[Scope],
) -> None:
    unborn = cls.__new__(cls)
    del unborn  # Errors in finalisers are warnings, and those are errors.
    gc.collect()


# What it knows


def test_it_counts_its_checkouts_by_alias(make_pool: MakePool) -> None:
    first, second, unit = make_pool(), make_pool(), Unit("GET /")
    first.name = "default"
    for pool in (first, second, first):
        borrow(pool, scope=unit.scope)
    slot = leave_warm(first, unit.scope)
    lease = first.retake(slot)
    assert lease is not None
    lease.release()
    assert unit.counts == {"default": 3, "test": 1}
    assert unit.scope.slots == {}


def test_a_unit_says_what_it_is() -> None:
    unit = Unit("GET /")
    assert repr(unit) == "<Unit 'GET /', running>"
    unit.end()
    assert repr(unit) == "<Unit 'GET /', over>"


def test_it_grows_while_it_is_looked_through(make_pool: MakePool) -> None:
    """By what the collector runs, for example, in the middle of an allocation on Python 3.11."""
    pool, unit = make_pool(max_size=None), Unit("long")
    pools = [make_pool() for _ in range(300)]
    for one in pools:
        leave_warm(one, unit.scope)

    def grow(*args: object) -> None:
        leave_warm(pool, unit.scope)

    threshold = gc.get_threshold()
    gc.callbacks.append(grow)
    gc.set_threshold(10)
    try:
        assert sum(unit.counts.values()) >= 300
        assert unit.end() >= 300
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(grow)
    assert [picture(one) for one in pools] == [{"idle": 1}] * 300
