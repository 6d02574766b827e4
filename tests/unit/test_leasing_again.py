"""A lease that ended, and is the same lease again: of another slot, under another number."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr import PoolTimeout
from django_connmgr._pool.slot import FREE, Claim, Lease
from django_connmgr._pool.unit import Unit
from django_connmgr.testing import FakeConnection, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Pool, picture


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    return make_pool(max_size=1)


def hand_over(pool: Pool, lease: Lease[FakeConnection], clock: ManualClock) -> Borrower:
    """Give ``lease`` back while somebody waits for it; returns who has it then."""
    borrower = Borrower(pool)
    clock.await_waiters()
    pool.check_in(lease, may_stay=False)
    borrower.await_served()
    return borrower


def test_after_it_was_handed_over(pool: Pool, clock: ManualClock) -> None:
    lease = pool.checkout()
    number, connection = lease.id, lease.connection
    hand_over(pool, lease, clock).give_back()
    assert pool.lease_again(lease) is connection
    assert (lease.is_held(), lease.id > number) == (True, True)
    assert (pool.stats().checkouts, pool.stats().leased) == (3, 1)
    lease.release()


def test_the_unit_that_knew_it_knows_it_still(pool: Pool, clock: ManualClock) -> None:
    unit, lease = Unit("GET /"), pool.checkout()
    unit.add(lease)
    hand_over(pool, lease, clock).give_back()
    assert pool.lease_again(lease) is not None
    assert unit.owns(lease)
    lease.claim.put_down(FREE)
    assert unit.end() == 1
    assert picture(pool) == {"idle": 1}


def test_the_unit_that_knew_it_does_not_know_it_if_it_was_renewed(
    pool: Pool, clock: ManualClock
) -> None:
    """For another unit, whether the lease is held at that moment or not."""
    unit, lease = Unit("GET /"), pool.checkout()
    unit.add(lease)
    hand_over(pool, lease, clock).give_back()
    lease.renew()
    assert pool.lease_again(lease) is not None
    lease.renew()
    assert not unit.owns(lease)
    lease.claim.put_down(FREE)
    assert unit.end() == 0
    assert lease.is_held()
    assert lease.claim.pick_up()
    lease.release()


def test_what_was_reported_of_it_before_is_not_about_it(pool: Pool, clock: ManualClock) -> None:
    """As by a finaliser that was late: the slot is the same, and so is the lease."""
    lease = pool.checkout()
    slot, number = lease.slot, lease.id
    hand_over(pool, lease, clock).give_back()
    assert pool.lease_again(lease) is not None
    assert lease.slot is slot
    pool.report_orphan(slot, number)
    assert (pool.stats().reaped, lease.is_held()) == (0, True)
    lease.release()


@pytest.mark.parametrize(
    "decide",
    [lambda pool: pool.recycle(), lambda pool: pool.resize(2), lambda pool: pool.close()],
    ids=["recycle", "resize", "close"],
)
def test_not_if_the_pool_has_decided_something_since(
    pool: Pool, decide: Callable[[Pool], None]
) -> None:
    lease = pool.checkout()
    lease.release()
    decide(pool)
    assert pool.lease_again(lease) is None
    assert not lease.is_held()


def test_not_while_somebody_is_about_to_take_what_it_parked(pool: Pool) -> None:
    """Whoever has its token may have been interrupted. It must be dropped to come back."""
    lease = pool.checkout()
    lease.release()
    assert lease.claim.unpark()
    pool._ledger.parked.clear()
    assert pool.lease_again(lease) is None
    del lease
    gc.collect()
    assert picture(pool) == {"idle": 1}


def test_not_while_it_is_held(pool: Pool) -> None:
    lease = pool.checkout()
    assert pool.lease_again(lease) is None
    lease.release()


def test_a_unit_that_nobody_ended_gives_back_what_the_lease_has_now(pool: Pool) -> None:
    """Its finaliser looks for the slot when it has the token: it may be another one by then."""
    lease = pool.checkout()
    old = lease.slot

    class Late(Claim):
        def collect(self) -> bool:
            # Meanwhile the connection is closed, and the lease has another.
            lease.discard()
            assert pool.lease_again(lease) is not None
            self.put_down(FREE)
            return super().collect()

    claim = lease.claim = old.claim = Late()
    lease.abandon(claim)
    assert lease.slot is not old
    assert pool.stats().leased == 0


def test_who_comes_to_a_line_in_front_of_a_full_pool_takes_its_place(
    pool: Pool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to be looked for that those who came before do not look for."""
    served: list[Any] = []
    lease = pool.checkout()
    first = Borrower(pool)
    clock.await_waiters()
    serve = pool._ledger.serve

    def note(now: float) -> Any:
        served.append(None)
        return serve(now)

    monkeypatch.setattr(pool._ledger, "serve", note)
    second = Borrower(pool)
    clock.await_waiters()
    assert (served, pool._ledger.counters.waits) == ([], 2)
    lease.release()
    first.give_back()
    second.give_back()


def test_a_hand_over_that_is_interrupted_leaves_the_waiter_without_a_connection(
    pool: Pool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It times out, and does not take the connection for its own."""
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    assign = pool._ledger._assign

    def interrupt(slot: Any, other: Any, *args: Any) -> None:
        monkeypatch.setattr(pool._ledger, "_assign", assign)
        other._slot = slot  # As far as it comes.
        raise KeyboardInterrupt

    monkeypatch.setattr(pool._ledger, "_assign", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.check_in(lease, may_stay=False)
    assert lease.is_held()
    clock.advance(60)
    with pytest.raises(PoolTimeout):
        waiting.result()
    lease.release()


def test_seconds_that_it_was_held_count_once_if_it_is_not_parked_after_all(pool: Pool) -> None:
    lease = pool.checkout()
    clock: Any = pool._clock
    clock.advance(100)
    ledger = pool._ledger

    class Parked(dict):  # type: ignore[type-arg]
        def __setitem__(self, owner: Any, parked: Any) -> None:
            super().__setitem__(owner, parked)
            ledger.epoch += 1

    ledger.parked = Parked()
    lease.release()
    ledger.parked = {}
    assert pool.stats().hold_seconds == pytest.approx(100)
