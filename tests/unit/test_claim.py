"""The token that decides, without a lock, whose a lease is: who may take it, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.slot import FREE, KEPT, Claim, Lease
from django_connmgr.testing import FakeConnection, FakeDriver

Take = Callable[[Claim], bool]
TAKERS = pytest.mark.parametrize(
    "take", [Claim.pick_up, Claim.reclaim, Claim.collect], ids=lambda take: take.__name__
)


@TAKERS
def test_nobody_takes_it_while_its_owner_uses_it(take: Take) -> None:
    assert not take(Claim())


@TAKERS
def test_what_was_put_down_is_taken_once(take: Take) -> None:
    claim = Claim()
    claim.put_down(FREE)
    assert [take(claim), take(claim)] == [True, False]


@TAKERS
def test_whoever_comes_first_has_it(take: Take) -> None:
    claim = Claim()
    claim.put_down(FREE)
    assert take(claim)
    assert not claim.pick_up()
    assert not claim.reclaim()
    assert not claim.collect()


def test_what_is_kept_is_its_owners_and_its_units_only() -> None:
    claim = Claim()
    claim.put_down(KEPT)
    assert not claim.reclaim()
    assert claim.collect()
    claim.put_down(KEPT)
    assert claim.pick_up()


def test_its_owner_changes_its_mind_while_it_has_it() -> None:
    claim = Claim()
    claim.put_down(KEPT)
    assert claim.pick_up()
    claim.put_down(FREE)
    assert claim.reclaim()
    assert not claim.pick_up()


# Taking a lease back at the end of its unit.


@pytest.fixture
def pool() -> ConnectionPool[FakeConnection]:
    return ConnectionPool("test", FakeDriver(), Limits(max_size=1, reap_interval=0.0))


def picture(pool: Any) -> str:
    return repr(pool).partition("open: ")[2]


ALL_IDLE = "size=1/1 connecting=0 idle=1 leased=0 maintenance=0 waiting=0>"
LEASED = "size=1/1 connecting=0 idle=0 leased=1 maintenance=0 waiting=0>"


@pytest.mark.parametrize("keep", [False, True])
def test_a_lease_that_is_not_in_use_is_taken_back(
    pool: ConnectionPool[FakeConnection], keep: bool
) -> None:
    lease = pool.checkout()
    lease.claim.put_down(KEPT if keep else FREE)
    assert lease.take_back()
    assert picture(pool) == ALL_IDLE
    assert not lease.claim.pick_up()
    assert not lease.take_back()


def test_a_lease_in_use_is_due_when_its_use_ends(pool: ConnectionPool[FakeConnection]) -> None:
    lease = pool.checkout()
    assert not lease.take_back()
    assert picture(pool) == LEASED
    assert lease.claim.is_due
    lease.release()


def test_whoever_puts_it_down_while_it_is_taken_back_sees_that_it_is_due(
    pool: ConnectionPool[FakeConnection],
) -> None:
    """The wish is made before the look, so a token that comes too late for it is not lost."""
    lease = pool.checkout()
    claim = lease.claim
    seen: list[bool] = []

    class Late(Claim):
        def collect(self) -> bool:
            is_collected = super().collect()
            self.put_down(FREE)  # Right after the look.
            seen.append(self.is_due)
            return is_collected

    lease.claim = claim = Late()
    assert not lease.take_back()
    assert seen == [True]
    assert claim.pick_up()  # What the owner does next.
    lease.release()
    assert picture(pool) == ALL_IDLE


def test_an_owner_that_lost_its_lease_does_not_disturb_who_took_it(
    pool: ConnectionPool[FakeConnection],
) -> None:
    """Its next query drops the lease, before whoever collected it has released it."""
    owned: list[Lease[FakeConnection]] = [pool.checkout()]
    collector = owned[0]
    collector.claim.put_down(FREE)
    assert collector.claim.collect()
    assert not owned[0].claim.pick_up()
    owned.clear()
    collector.release()
    assert picture(pool) == ALL_IDLE


def test_a_token_that_an_interruption_swallowed_costs_the_lease_and_not_the_slot(
    pool: ConnectionPool[FakeConnection],
) -> None:
    lease = pool.checkout()
    lease.claim.put_down(FREE)
    assert lease.claim.pick_up()
    # The thread is interrupted before it notes that it has it, so it takes it for lost.
    assert not lease.claim.pick_up()
    del lease
    assert picture(pool) == ALL_IDLE


def test_a_dropped_lease_that_was_reclaimed_reports_nothing(
    pool: ConnectionPool[FakeConnection],
) -> None:
    lease = pool.checkout()
    lease.claim.put_down(FREE)
    other = pool.checkout()
    del lease
    assert not pool.has_orphans()
    assert picture(pool) == LEASED
    other.release()
