from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from django_connmgr import PoolClosed, PoolTimeout, TooManyRequests
from django_connmgr._pool.clock import Bell
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.line import LOOK_AGAIN, REFUSAL_PAUSE
from django_connmgr._pool.owner import BRISK_AFTER, current_owner
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.slot import Lease
from django_connmgr._pool.waiters import Waiter
from django_connmgr.testing import FakeDriver, ManualClock, ServerFull

from .conftest import MakePool
from .helpers import Borrower, Pool, ScriptedClock, ScriptedLock, Worker, picture


def scripted_pool(driver: FakeDriver) -> tuple[ScriptedClock, Pool]:
    clock = ScriptedClock()
    return clock, ConnectionPool("test", driver, Limits(max_size=1, reap_interval=0), clock=clock)


def test_a_return_serves_the_one_who_waits(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    connection = lease.connection
    waiting = Borrower(pool)
    clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 1}
    lease.release()
    assert waiting.await_served() is connection
    waiting.give_back()


def test_waiters_are_served_in_the_order_in_which_they_came(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    order: list[int] = []

    def take_a_turn(number: int) -> None:
        own = pool.checkout()
        order.append(number)
        own.release()

    workers = []
    for number in range(10):
        workers.append(Worker(lambda number=number: take_a_turn(number)))
        clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 10}
    lease.release()
    for worker in workers:
        worker.result()
    assert order == list(range(10))


def test_a_newcomer_does_not_overtake_those_who_wait(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    pool.checkout().release()
    pool.suspend()  # So that there is something idle and somebody who waits.
    served: list[str] = []

    def take_a_turn(name: str) -> None:
        lease = pool.checkout()
        served.append(name)
        lease.release()

    first = Worker(lambda: take_a_turn("first"))
    clock.await_waiters()
    # The pool opens again, and before it has served anybody a newcomer is there.
    ScriptedLock(pool, {1: lambda: setattr(pool._ledger, "status", type(pool._ledger.status).OPEN)})
    take_a_turn("newcomer")
    first.result()
    assert served == ["first", "newcomer"]


def test_a_wait_ends_at_its_deadline_and_leaves_nobody_in_line(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    clock.advance(4.9)
    clock.await_waiters()  # It looked at the time and waits on.
    clock.advance(0.1)
    with pytest.raises(PoolTimeout):
        waiting.result()
    assert picture(pool) == {"leased": 1}
    lease.release()


def test_a_timeout_of_the_caller_s_own_replaces_the_pool_s(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    lease.release()


def test_a_waiter_that_is_served_while_it_times_out_has_the_connection(
    driver: FakeDriver,
) -> None:
    """Nothing is lost between the end of the wait and the way out of the line."""
    clock, pool = scripted_pool(driver)
    held = pool.checkout()
    clock.script = [lambda: clock.advance(60)]
    # Takings of the lock: in line, one more look, out of the line.
    ScriptedLock(pool, {3: held.release})
    lease = pool.checkout()
    assert picture(pool) == {"leased": 1}
    assert (clock.rang, pool.stats().timeouts) == ([False], 0)
    lease.release()


def test_a_lease_that_is_dropped_right_before_the_sleep_wakes_the_sleeper(
    driver: FakeDriver,
) -> None:
    """A finaliser takes no lock, so it may strike between the last look and the sleep."""
    clock, pool = scripted_pool(driver)
    held = [pool.checkout()]
    clock.script = [held.clear]
    lease = pool.checkout()
    assert clock.rang == [True]
    lease.release()


def test_a_lease_that_is_dropped_before_the_queue_is_joined_is_seen_when_joining(
    driver: FakeDriver,
) -> None:
    clock, pool = scripted_pool(driver)
    held = [pool.checkout()]
    ScriptedLock(pool, {1: held.clear})
    lease = pool.checkout()
    assert clock.rang == []
    lease.release()


def test_a_lease_that_is_dropped_while_the_queue_is_being_joined_is_seen_too(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report finds nobody to ring, because the waiter is on its way into the line."""
    clock, pool = scripted_pool(driver)
    held = [pool.checkout()]
    promise = pool._ledger.promise
    calls: list[bool] = []

    def promise_and_drop(*args: object, **kwargs: bool) -> bool:
        calls.append(promise(*args, **kwargs))  # type: ignore[arg-type]
        if len(calls) == 2:  # The first was at once, this is in line.
            held.clear()
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(pool._ledger, "promise", promise_and_drop)
        lease = pool.checkout()
    assert clock.rang == []
    lease.release()


def test_a_lease_that_is_dropped_while_the_first_in_line_gives_up_goes_to_the_second(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """The news was for the head of the line, which turned away without looking."""
    pool = make_pool(max_size=1, timeout=100)
    held = [pool.checkout()]
    first = Borrower(pool, timeout=5)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()
    withdraw = pool._ledger.withdraw

    def drop_and_withdraw(waiter: Waiter) -> None:
        held.clear()
        withdraw(waiter)

    pool._ledger.withdraw = drop_and_withdraw  # type: ignore[method-assign]
    clock._now += 5
    pool._ledger.waiters[0].bell.ring()  # And only this one.
    with pytest.raises(PoolTimeout):
        first.result()
    second.give_back()


def test_a_lease_that_is_dropped_while_the_first_in_line_is_being_served_goes_to_the_second(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """The news are for the head of the line, which needs nothing any more."""
    pool = make_pool(max_size=2)
    dropped, returned = [pool.checkout()], pool.checkout()
    first = Borrower(pool)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()
    assign = pool._ledger._assign

    def assign_and_drop(*args: Any) -> None:
        assign(*args)
        dropped.clear()

    pool._ledger._assign = assign_and_drop  # type: ignore[method-assign]
    returned.release()
    second.await_served()
    first.give_back()
    second.give_back()


def test_a_newcomer_who_is_lucky_rings_those_who_were_served_before_it(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=3)
    lease = pool.checkout()

    def refuse() -> None:
        raise ServerFull

    driver.on_connect = refuse
    waiting = Borrower(pool)
    clock.await_waiters()
    driver.on_connect = lambda: None
    clock._now += REFUSAL_PAUSE  # And nobody looks at the time, but for the newcomer.
    newcomer = pool.checkout()
    waiting.give_back()
    newcomer.release()
    lease.release()


def test_more_waiters_than_max_waiting_are_turned_away_at_once(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, max_waiting=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    with pytest.raises(TooManyRequests) as caught:
        pool.checkout()
    assert str(caught.value) == (
        "Pool 'test' has 1 callers waiting already, which is max_waiting; "
        "try again later, or raise max_size or max_waiting."
    )
    stats = pool.stats()
    assert (stats.waits, stats.rejected, stats.waiting) == (1, 1, 1)
    lease.release()
    waiting.give_back()


def test_close_fails_everybody_who_waits(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    workers = [Borrower(pool) for _ in range(3)]
    clock.await_waiters(3)
    pool.close()
    for worker in workers:
        with pytest.raises(PoolClosed, match=r"^Pool 'test' was closed\.$"):
            worker.result()
    assert picture(pool) == {"leased": 1}
    lease.release()


def test_a_waiter_looks_for_itself_although_nobody_rang(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """Should a thread be interrupted between serving and ringing, the wait is short."""
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    with pool._lock:
        slot = lease.slot
        lease.forget()
        pool._ledger.put_back(slot, clock.now())
    clock.advance(1)
    waiting.give_back()


def test_a_slot_that_was_promised_while_nobody_took_the_waiter_off_the_queue_is_not_given_twice(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """As when an exception strikes right between the promise and the end of the queue."""
    pool = make_pool(max_size=2)
    first, second = pool.checkout(), pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    with pool._lock:
        slot = first.slot
        first.forget()
        pool._ledger.put_back(slot, clock.now())
        waiter = pool._ledger.waiters[0]
        assert pool._ledger.promise(waiter, clock.now())
        del waiter
    second.release()
    waiting.await_served()
    assert picture(pool) == {"idle": 1, "leased": 1}
    waiting.give_back()


def test_a_connection_is_looked_at_when_it_is_handed_over_if_the_driver_always_asks(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    monkeypatch.setattr(driver, "asks_always", True)
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.connection.is_quiet = False
    lease.release()
    waiting.give_back()
    assert driver.checks == 1


def test_who_waits_for_its_own_lease_on_another_thread_s_hands_holds_it(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    leases: list[Any] = []

    def lease_twice() -> None:
        leases.append(pool.checkout())
        leases.append(pool.checkout())

    worker = Worker(lease_twice)
    clock.await_waiters()
    leases[0].release()
    worker.result()
    # It is dead, and was heard of at once: its second lease was among what it held.
    assert pool.has_orphans()
    assert picture(pool) == {"idle": 1}
    assert pool.stats().reaped == 1
    leases.clear()


@pytest.mark.parametrize(("used", "looks"), [(0.001, 0), (0.01, 1)])
def test_a_connection_is_looked_at_when_it_is_handed_over_by_who_did_not_just_use_it(
    make_pool: MakePool,
    clock: ManualClock,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
    used: float,
    looks: int,
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    seen: list[object] = []
    monkeypatch.setattr(driver, "is_quiet", lambda connection: seen.append(connection) or True)
    clock._now += used
    lease.release()
    waiting.give_back()
    assert len(seen) == looks


def test_who_becomes_the_first_in_line_hears_of_what_was_left_lying(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """The one that was the first knew of it, and got something else."""
    pool = make_pool(max_size=2, fair_after=0.02)
    lease, other = pool.checkout(), Borrower(pool)
    other.await_served()
    first = Borrower(pool)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()
    current_owner().returns = BRISK_AFTER
    pool.check_in(lease, may_stay=True)
    assert len(pool._ledger.parked) == 1
    other.give_back()
    second.give_back()
    first.give_back()


def test_who_becomes_the_first_in_line_when_its_alarm_is_over_hears_of_it_too(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """Behind one that was starved, and got something before it could look itself."""
    pool = make_pool(max_size=1, fair_after=0.02)
    ledger, now = pool._ledger, clock.now()
    lease = pool.checkout()
    first, second = (
        Waiter(Lease(pool), current_owner(), now - 0.03, now - 0.03, now + 5) for _ in range(2)
    )
    first.bell, second.bell = Bell(), Bell()
    ledger.waiters.extend([first, second])
    ledger.has_left_some = True
    assert ledger.next_look(second, now) == LOOK_AGAIN
    lease.release()
    assert first.is_out
    assert second.bell.wait(0)
    ledger.waiters.clear()
    first.lease.release()


def test_who_becomes_the_first_in_line_hears_that_the_pool_may_grow(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=10)
    ledger = pool._ledger
    lease = pool.checkout()
    first, second = (
        Waiter(Lease(pool), current_owner(), clock.now(), clock.now(), clock.now() + 5)
        for _ in range(2)
    )
    first.bell, second.bell = Bell(), Bell()
    ledger.waiters.extend([first, second])
    lease.release()
    assert second.bell.wait(0)
    ledger.waiters.clear()
    first.lease.release()


def test_a_waiter_that_was_being_dismissed_when_that_was_interrupted_is_out(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.checkout()
    waiting = Borrower(pool)
    clock.await_waiters()
    waiters = pool._ledger.waiters

    class Interrupting(deque[Waiter]):
        def popleft(self) -> Waiter:
            super().popleft()
            raise KeyboardInterrupt

    pool._ledger.waiters = Interrupting(waiters)
    with pytest.raises(KeyboardInterrupt):
        lease.release()
    pool._ledger.waiters = deque()
    clock.advance(LOOK_AGAIN)
    waiting.give_back()
    assert picture(pool) == {"idle": 1}
