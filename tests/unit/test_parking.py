"""Released leases lie where their threads find them again, and where everybody else does."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr._pool.clock import Bell
from django_connmgr._pool.lender import BRIEF
from django_connmgr._pool.line import LOOK_AGAIN
from django_connmgr._pool.owner import AT_ONCE, BRISK_AFTER, Owner, current_owner
from django_connmgr._pool.slot import FREE, KEPT, Lease
from django_connmgr._pool.unit import Unit
from django_connmgr._pool.waiters import Waiter
from django_connmgr.testing import FakeConnection, FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, Pool, Worker, borrow, picture


def locks_taken(pool: Pool, work: Callable[[], object]) -> int:
    lock, taken = pool._lock, []

    class Counting:
        def __enter__(self) -> None:
            taken.append(None)
            lock.acquire()

        def __exit__(self, *exc_info: object) -> None:
            lock.release()

    pool._lock = Counting()  # type: ignore[assignment]
    try:
        work()
    finally:
        pool._lock = lock
    return len(taken)


def test_a_thread_has_its_last_connection_again_without_the_lock(make_pool: MakePool) -> None:
    pool = make_pool()
    borrow(pool)
    assert locks_taken(pool, lambda: borrow(pool)) == 0
    assert (pool.stats().checkouts, pool.stats().opened) == (2, 1)


def test_what_is_parked_counts_as_idle(make_pool: MakePool) -> None:
    pool = make_pool()
    borrow(pool)
    assert (pool.stats().idle, pool.stats().leased) == (1, 0)
    assert borrow(pool)
    assert repr(pool).endswith("idle=1 leased=0 maintenance=0 waiting=0>")


def test_another_thread_takes_it_before_it_opens_one(make_pool: MakePool) -> None:
    pool = make_pool()
    mine = borrow(pool)
    assert Worker(lambda: borrow(pool)).result() is mine
    assert borrow(pool) is mine
    assert pool.stats().opened == 1


def test_its_thread_gets_another_if_it_is_taken(make_pool: MakePool) -> None:
    pool = make_pool()
    mine, has_it, may_end = borrow(pool), threading.Event(), threading.Event()

    def keep() -> None:
        lease = pool.checkout()
        has_it.set()
        assert may_end.wait(PATIENCE)
        lease.release()

    thief = Worker(keep)
    assert has_it.wait(PATIENCE)
    assert borrow(pool) is not mine
    may_end.set()
    thief.join()
    assert pool.stats().opened == 2


def test_a_smaller_pool_closes_what_was_parked(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=2)
    first, second = pool.checkout(), pool.checkout()
    first.release()
    second.release()
    pool.resize(1)
    assert picture(pool) == {"idle": 1}
    assert len(driver.open()) == 1


@pytest.mark.parametrize(
    ("steer", "left"),
    [
        (lambda pool: pool.recycle(), {}),
        (lambda pool: pool.close(), {}),
    ],
    ids=["recycle", "close"],
)
def test_who_steers_the_pool_finds_it(
    make_pool: MakePool, driver: FakeDriver, steer: Callable[[Pool], None], left: dict[str, int]
) -> None:
    pool = make_pool()
    borrow(pool)
    steer(pool)
    assert picture(pool) == left
    assert driver.open() == []


def test_a_suspended_pool_hands_it_to_nobody(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool()
    borrow(pool)
    pool.suspend()
    borrower = Worker(lambda: borrow(pool))
    clock.await_waiters()
    assert picture(pool) == {"idle": 1, "waiting": 1}
    pool.resume()
    borrower.result()


def test_what_was_decided_while_it_was_out_is_heard_of_at_its_return(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    pool.recycle()
    lease.release()
    assert driver.open() == []


def test_also_if_another_thread_ends_the_unit_that_had_it_out(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool()
    lease = pool.checkout()
    lease.claim.put_down(FREE)
    pool.recycle()
    assert Worker(lease.take_back).result()
    assert driver.open() == []


def test_what_was_parked_too_late_to_be_found_is_looked_at(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    """It was recycled between the moment that its token lay there and that its thread said so."""
    pool = make_pool()
    lease = pool.checkout()
    parked = pool._ledger.parked

    class Late(dict[Owner, Lease[FakeConnection]]):
        def __setitem__(self, owner: Owner, lease: Lease[FakeConnection]) -> None:
            pool._ledger.parked = parked
            pool.recycle()
            parked[owner] = lease
            assert Worker(lambda: borrow(pool)).result() is driver.connections[1]

    pool._ledger.parked = Late()
    lease.release()
    assert driver.open() == [driver.connections[1]]


def test_a_unit_takes_back_nothing_but_the_lease_that_it_knew(make_pool: MakePool) -> None:
    """Another thread ends it in the moment that this one leases again for the next unit."""
    pool, unit = make_pool(), Unit("first")
    lease = pool.checkout()
    unit.add(lease)
    known = unit._find_leases()
    lease.release()
    again = pool.checkout()
    again.claim.put_down(KEPT)
    for known_lease, claim in known:
        assert not Worker(lambda known=known_lease, claim=claim: known.take_back(claim)).result()
    assert again.claim.pick_up()
    again.release()


def test_a_waiter_that_was_busy_when_it_became_old_looks_at_once(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked while it was young, and slept (or had no processor) until it was old."""
    pool = make_pool(max_size=1, fair_after=0.02)
    lease = pool.checkout()
    admit = pool._ledger.admit
    waits: list[float] = []

    def late(*args: Any, **kwargs: Any) -> Any:
        served = admit(*args, **kwargs)
        clock._now += 0.03
        lease.claim.put_down(FREE)
        return served

    monkeypatch.setattr(pool._ledger, "admit", late)
    monkeypatch.setattr(clock, "wait", lambda bell, timeout: waits.append(timeout))
    Worker(lambda: borrow(pool)).result()
    assert waits == []


def test_upkeep_closes_it_when_it_was_idle_for_too_long(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_idle=10)
    borrow(pool)
    clock.advance(11)
    pool.maintain()
    assert dict(pool.stats().closed) == {"idle": 1}


def test_it_outlives_its_thread_and_is_nobody_s_loss(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    theirs = Worker(lambda: borrow(pool)).result()
    gc.collect()
    assert borrow(pool) is theirs
    assert (pool.stats().reaped, pool.stats().opened) == (0, 1)


def brisk(is_brisk: bool) -> None:
    current_owner().returns = 100 if is_brisk else 0


def stay(pool: Pool) -> None:
    """Give a connection back as a wrapper does that sends one query after the other."""
    lease = pool.checkout()
    borrower.append(Worker(lambda: borrow(pool)))
    _clock(pool).await_waiters()
    pool.check_in(lease, may_stay=True)


borrower: list[Worker] = []


def _clock(pool: Pool) -> ManualClock:
    assert isinstance(pool._clock, ManualClock)
    return pool._clock


def test_a_busy_thread_goes_on_while_the_longest_waiter_is_young(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(True)
    stay(pool)
    (lease,) = pool._ledger.parked.values()
    assert pool.lease_again(lease) is not None
    brisk(True)
    _clock(pool).advance(0.03)
    _clock(pool).await_waiters()
    pool.check_in(lease, may_stay=True)
    borrower.pop().result()
    assert pool.stats().waits == 1


def test_a_waiter_finds_what_was_left_lying_when_it_is_old(make_pool: MakePool) -> None:
    """The thread was expected to come back, and has not."""
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(True)
    stay(pool)
    _clock(pool).advance(0.03)
    borrower.pop().result()


@pytest.mark.parametrize("look", [lambda pool: pool.stats(), lambda pool: pool.maintain()])
def test_whoever_finds_it_lying_hands_it_to_those_who_wait(
    make_pool: MakePool, look: Callable[[Pool], object]
) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(True)
    stay(pool)
    look(pool)
    borrower.pop().result()


def test_a_thread_that_has_other_work_to_do_hands_over_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(False)
    stay(pool)
    borrower.pop().result()


def test_a_newcomer_takes_what_lies_there_only_while_those_who_wait_are_young(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(True)
    stay(pool)
    assert Worker(lambda: borrow(pool)).result()
    assert pool.stats().waits == 1
    borrower.pop().result()


def test_a_newcomer_lines_up_behind_those_who_have_waited_for_long(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    borrow(pool)
    brisk(True)
    stay(pool)
    clock._now += 0.03  # Nobody has noticed it yet.
    newcomer = Worker(lambda: borrow(pool))
    clock.await_waiters()
    assert len(pool._ledger.waiters) == 2
    clock.advance(0.01)
    newcomer.result()
    borrower.pop().result()


def test_what_a_dead_thread_held_is_not_parked_in_its_name(make_pool: MakePool) -> None:
    """Its number may be another thread's by now."""
    pool = make_pool()
    lease = pool.checkout()
    owner = current_owner()
    owner.is_dead = True
    try:
        lease.release()
    finally:
        owner.is_dead = False
    assert pool._ledger.parked == {}
    assert picture(pool) == {"idle": 1}


def test_a_lease_that_a_unit_knew_is_another_at_the_next_checkout(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    unit = Unit("over soon")
    first = pool.checkout()
    unit.add(first)
    first.release()
    del first
    again = pool.checkout()
    again.claim.put_down(KEPT)
    assert unit.end() == 0
    assert again.claim.pick_up()
    again.release()


def test_only_the_first_in_line_has_an_alarm_and_the_next_is_told_that_it_needs_one(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    pool.checkout().release()
    ledger, owner, now = pool._ledger, current_owner(), clock.now()
    brisk(True)
    first, second = (Waiter(Lease(pool), owner, now, now, now + 5) for _ in range(2))
    first.bell, second.bell = Bell(), Bell()
    ledger.waiters.extend([first, second])
    assert ledger.next_look(second, now) == LOOK_AGAIN
    assert ledger.next_look(first, now) == pytest.approx(0.02)
    assert ledger.may_keep(owner, now)
    assert not first.bell.wait(0)
    ledger.waiters.popleft()
    assert ledger.may_keep(owner, now)
    assert second.bell.wait(0)
    ledger.waiters.clear()


def test_a_connection_that_is_handed_over_is_never_idle_in_between(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Worker(lambda: borrow(pool))
    clock.await_waiters()
    monkeypatch.setattr(pool._ledger, "put_back", lambda *args: pytest.fail("made idle"))
    lease.release()
    monkeypatch.undo()
    assert waiting.result() is not None
    assert pool.stats().checkouts == 2


def test_what_is_handed_over_at_once_is_not_looked_at_again(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Worker(lambda: borrow(pool))
    clock.await_waiters()
    looks: list[object] = []
    monkeypatch.setattr(driver, "is_quiet", lambda connection: looks.append(connection) or True)
    lease.release()
    waiting.result()
    assert looks == []
    borrow(pool)
    assert len(looks) == 1


@pytest.mark.parametrize(("held", "goes"), [(BRIEF / 2, False), (BRIEF * 2, True)])
def test_by_default_what_was_held_for_longer_than_waking_takes_is_handed_over(
    make_pool: MakePool, clock: ManualClock, held: float, goes: bool
) -> None:
    pool = make_pool(max_size=1, fair_after=0.02)
    brisk(True)
    lease = pool.checkout()
    waiting = Worker(lambda: borrow(pool))
    clock.await_waiters()
    clock._now += held  # Without waking anybody.
    lease.release()
    assert (not pool._ledger.waiters) is goes
    clock.advance(0.02)
    waiting.result()


def test_who_comes_back_at_once_twice_is_expected_to_do_so_again(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool, owner = make_pool(), current_owner()
    borrow(pool)
    clock.advance(1)
    seen = []
    for pause in (AT_ONCE / 2, AT_ONCE / 2, 1, AT_ONCE / 2):
        borrow(pool)
        seen.append(owner.returns >= BRISK_AFTER)
        clock.advance(pause)
    assert seen == [False, False, True, False]
