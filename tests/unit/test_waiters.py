"""Waiters are served first come, first served, and none sleeps while capacity is free."""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any

import pytest

from django_connmgr._pool.errors import PoolClosed, PoolTimeout, TooManyRequests
from django_connmgr._pool.growth import REFUSAL_PAUSE
from django_connmgr._pool.lease import Lease
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.lost import Lost
from django_connmgr._pool.owner import here
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.state import LOOK_AGAIN, PoolStatus
from django_connmgr._pool.waiter import Waiter
from django_connmgr.testing import FakeDriver, ManualClock, ServerFull

from .conftest import MakePool
from .helpers import Borrower, Pool, ScriptedClock, ScriptedLock, Worker, borrow, picture


def scripted_pool(driver: FakeDriver, **limits: Any) -> tuple[ScriptedClock, Pool]:
    clock = ScriptedClock()
    settings = Limits(**{"max_size": 1, "reap_interval": 0.0, **limits})
    return clock, ConnectionPool("test", driver, settings, clock=clock)


def first_waiter(pool: Pool) -> Waiter:
    return next(iter(pool._state.waiters))


def test_a_return_serves_the_one_who_waits(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    connection = lease.connection
    waiting = Borrower(pool)
    clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 1}
    lease.release()
    assert waiting.await_served() is connection
    waiting.give_back()


# First come, first served


@pytest.mark.parametrize("is_warm", [False, True])
def test_waiters_are_served_in_the_order_in_which_they_came(
    make_pool: MakePool, clock: ManualClock, is_warm: bool
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    order: list[int] = []

    def take_a_turn(number: int) -> None:
        own = pool.acquire()
        order.append(number)
        own.release(is_warm=is_warm)

    workers = []
    for number in range(10):
        workers.append(Worker(lambda number=number: take_a_turn(number)))
        clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 10}
    lease.release(is_warm=is_warm)
    for worker in workers:
        worker.result()
    assert order == list(range(10))


@pytest.mark.parametrize("is_warm", [False, True])
def test_a_thread_that_comes_back_at_once_goes_to_the_end_of_the_queue(
    make_pool: MakePool, clock: ManualClock, is_warm: bool
) -> None:
    """However fast it is, and although it had the connection last."""
    pool = make_pool(max_size=1)
    order: list[str] = []
    lease = pool.acquire()
    slot: Any = lease.slot
    waiting = [Borrower(pool, name=f"waiter {number}") for number in range(2)]
    clock.await_waiters(2)

    def come_back() -> None:
        lease.release(is_warm=is_warm)
        assert pool.retake(slot) is None
        again = pool.acquire()
        order.append("who came back")
        again.release()

    def serve_the_others() -> None:
        clock.await_waiters()  # It stands in the queue.
        assert picture(pool) == {"leased": 1, "waiting": 2}
        for waiter in waiting:
            waiter.await_served()
            order.append(waiter._thread.name)
            waiter.give_back()

    others = Worker(serve_the_others)
    come_back()
    others.result()
    assert order[-1] == "who came back"
    assert sorted(order[:2]) == ["waiter 0", "waiter 1"]
    assert pool.stats().waits == 3


def test_a_thread_that_runs_query_after_query_takes_turns_with_the_one_that_waits(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """One of them never starves: each release hands the connection to the other."""
    pool = make_pool(max_size=1)
    turns: list[str] = []
    lease = pool.acquire()

    def run(name: str) -> None:
        for _ in range(20):
            own = pool.acquire()
            turns.append(name)
            # The next thread stands in the queue before this one gives back.
            if 1 < len(turns) < 40:
                clock.await_waiters()
            own.release(is_warm=True)

    first = Worker(lambda: run("a"))
    clock.await_waiters()
    second = Worker(lambda: run("b"))
    clock.await_waiters()
    lease.release()
    first.result()
    second.result()
    assert turns == ["a", "b"] * 20


def test_a_newcomer_does_not_overtake_those_who_wait(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """Not even to a connection that is cold, and that no pass has given to the first waiter yet."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    served: list[str] = []

    def take_a_turn(name: str) -> None:
        own = pool.acquire()
        served.append(name)
        own.release()

    first = Worker(lambda: take_a_turn("first"))
    clock.await_waiters()
    pool.suspend()
    lease.release()
    with pool._lock:
        pool._state.status = PoolStatus.OPEN
        pool._state._note_locked()  # As ``resume()``, which makes a pass then.
    assert picture(pool) == {"idle": 1, "waiting": 1}
    take_a_turn("newcomer")
    first.result()
    assert served == ["first", "newcomer"]


def test_a_newcomer_that_is_served_rings_those_who_were_served_before_it(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=3)
    lease = pool.acquire()

    def refuse() -> None:
        raise ServerFull

    driver.on_connect = refuse
    waiting = Borrower(pool)
    clock.await_waiters()
    driver.on_connect = lambda: None
    clock._now += REFUSAL_PAUSE  # And nobody looks at the time, but for the newcomer.
    newcomer = pool.acquire()
    waiting.give_back()
    newcomer.release()
    lease.release()


def test_a_newcomer_before_a_full_pool_makes_no_pass(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to be looked for that those who came before do not look for."""
    pool = make_pool(max_size=1)
    passes: list[None] = []
    lease = pool.acquire()
    first = Borrower(pool)
    clock.await_waiters()
    serve = pool._state.serve_locked

    def note(now: float) -> Any:
        passes.append(None)
        return serve(now)

    monkeypatch.setattr(pool._state, "serve_locked", note)
    second = Borrower(pool)
    clock.await_waiters()
    assert (passes, pool.stats().waits) == ([], 2)
    lease.release()
    first.give_back()
    second.give_back()


# From hand to hand


def test_a_connection_that_is_handed_over_was_used_just_now(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """However long ago it was idle: it is not checked, so nothing is sent to the server."""
    pool = make_pool(max_size=1, check_after=30)
    borrow(pool)
    lease = pool.acquire()
    for _ in range(3):
        waiting = Borrower(pool)
        clock.await_waiters()
        clock._now += 20  # Without waking anybody.
        lease.release()
        waiting.await_served()
        mine = Worker(pool.acquire)
        clock.await_waiters()
        waiting.give_back()
        lease = mine.result()
        pool.share(lease)  # Its thread is gone.
    lease.release()
    assert (driver.checks, pool.stats().opened, picture(pool)) == (0, 1, {"idle": 1})


def test_a_connection_is_looked_at_when_it_is_handed_over(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """What arrived on it while it was in use is nobody's to read: the server may be gone."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.connection.kill()
    lease.release()
    assert waiting.await_served() is driver.connections[1]
    waiting.give_back()
    assert pool.stats().closed == {"check_failed": 1}


def test_a_thread_that_waits_for_its_own_lease_on_another_thread_s_hands_holds_it(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    leases: list[Any] = []

    def lease_twice() -> None:
        leases.append(pool.acquire())
        leases.append(pool.acquire())

    worker = Worker(lease_twice)
    clock.await_waiters()
    leases[0].release()
    worker.result()
    # It is dead, and was heard of at once: its second lease was among what it held.
    assert pool.has_lost()
    pool.maintain()
    assert (picture(pool), pool.stats().reaped) == ({"idle": 1}, 1)


# The end of a wait


def test_a_wait_ends_at_its_deadline_and_leaves_nobody_in_the_queue(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    clock.advance(4.9)
    clock.await_waiters()  # It looked at the time and waits on.
    clock.advance(0.1)
    with pytest.raises(PoolTimeout):
        waiting.await_served()
    assert picture(pool) == {"leased": 1}
    lease.release()


def test_a_timeout_of_the_caller_s_own_replaces_the_pool_s(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)
    lease.release()


def test_a_waiter_that_is_served_while_it_times_out_has_the_connection(driver: FakeDriver) -> None:
    """Nothing is lost between the end of the wait and the way out of the queue."""
    clock, pool = scripted_pool(driver)
    held = pool.acquire()
    clock.script = [lambda: clock.advance(60)]
    # Takings of the lock: into the queue, one more look, out of the queue.
    lock = ScriptedLock(pool, {3: held.release})
    lease = pool.acquire()
    assert (picture(pool), lock.takings) == ({"leased": 1}, 4)
    assert (clock.rang, pool.stats().timeouts) == ([False], 0)
    lease.release()


def test_a_waiter_looks_for_itself_although_nobody_rang(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a thread be interrupted between serving and ringing, the wait is short."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    with monkeypatch.context() as patch:
        patch.setattr(pool._core, "act", lambda decision: None)
        lease.release()
    clock.advance(LOOK_AGAIN)
    waiting.give_back()


# Refusals


def test_more_waiters_than_max_waiting_are_turned_away_at_once(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, max_waiting=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    before = pool.stats().waits
    with pytest.raises(TooManyRequests) as caught:
        pool.acquire()
    assert str(caught.value) == (
        "Pool 'test' has 1 callers waiting already, which is max_waiting; "
        "try again later, or raise max_size or max_waiting."
    )
    stats = pool.stats()
    assert (stats.waits, stats.rejected, stats.waiting) == (before, 1, 1)
    lease.release()
    waiting.give_back()


def test_close_fails_everybody_who_waits(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    workers = [Borrower(pool) for _ in range(3)]
    clock.await_waiters(3)
    pool.close()
    for worker in workers:
        with pytest.raises(PoolClosed, match=r"^Pool 'test' was closed\.$"):
            worker.await_served()
    assert picture(pool) == {"leased": 1}
    lease.release()


# News of lost leases, at every moment of a wait


def test_a_lease_that_is_dropped_right_before_the_sleep_wakes_the_sleeper(
    driver: FakeDriver,
) -> None:
    """A finaliser takes no lock, so it may strike between the last look and the sleep."""
    clock, pool = scripted_pool(driver)
    borrow(pool)
    held = [pool.acquire()]
    clock.script = [held.clear]
    lease = pool.acquire()
    assert clock.rang[0]
    lease.release()


@pytest.mark.parametrize("taking", [1, 2])
def test_a_lease_that_is_dropped_before_the_lock_is_taken_is_seen_then(
    driver: FakeDriver, taking: int
) -> None:
    """On the way into the queue, or at the look after a wait that nothing ended."""
    clock, pool = scripted_pool(driver)
    borrow(pool)
    held = [pool.acquire()]
    ScriptedLock(pool, {taking: held.clear})
    lease = pool.acquire()
    assert not any(clock.rang[: taking - 1])
    lease.release()


def test_a_lease_that_is_dropped_while_the_queue_is_being_joined_is_seen_too(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass has looked at the reports, and the waiter's turn has not helped it."""
    _, pool = scripted_pool(driver)
    borrow(pool)
    held = [pool.acquire()]
    promise = pool._state._promise_locked
    calls: list[bool] = []

    def promise_and_drop(waiter: Waiter, now: float) -> bool:
        calls.append(promise(waiter, now))
        held.clear()
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(pool._state, "_promise_locked", promise_and_drop)
        lease = pool.acquire()
    assert calls == [False, True]
    lease.release()


def test_a_lease_that_is_dropped_while_the_first_waiter_gives_up_goes_to_the_second(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news were for the first, which turned away without looking."""
    pool = make_pool(max_size=1, timeout=100)
    borrow(pool)
    held = [pool.acquire()]
    first = Borrower(pool, timeout=5)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()
    withdraw = pool._state.withdraw_locked

    def drop_and_withdraw(waiter: Waiter, now: float) -> None:
        held.clear()
        withdraw(waiter, now)

    monkeypatch.setattr(pool._state, "withdraw_locked", drop_and_withdraw)
    clock._now += 5
    first_waiter(pool).ring()  # And only this one.
    with pytest.raises(PoolTimeout):
        first.await_served()
    second.give_back()


def test_a_lease_that_is_dropped_while_the_first_waiter_is_served_goes_to_the_second(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news are for the first, which needs nothing any more."""
    pool = make_pool(max_size=2)
    for lease in [pool.acquire(), pool.acquire()]:
        lease.release()
    del lease
    dropped, returned = [pool.acquire()], pool.acquire()
    first = Borrower(pool)
    clock.await_waiters()
    second = Borrower(pool)
    clock.await_waiters()
    assign = pool._state._assign_locked

    def assign_and_drop(*args: Any) -> None:
        assign(*args)
        dropped.clear()

    monkeypatch.setattr(pool._state, "_assign_locked", assign_and_drop)
    returned.release()
    second.await_served()
    first.give_back()
    second.give_back()


def test_the_next_waiter_hears_that_the_pool_may_grow(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """When it becomes the first, it is the one that has to wait for its turn to connect."""
    pool = make_pool(max_size=10, max_connecting=1)
    lease = pool.acquire()
    waiting = [Borrower(pool), Borrower(pool)]
    pool.driver.on_connect = lambda: None  # type: ignore[attr-defined]
    for waiter in waiting:
        waiter.give_back()
    lease.release()


# A pass that is interrupted half way


def test_a_slot_that_was_promised_to_a_waiter_still_in_the_queue_is_not_given_twice(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """As when an exception strikes right between the promise and the end of the queue."""
    pool = make_pool(max_size=2)
    first, second = pool.acquire(), pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    waiter = first_waiter(pool)
    with pool._lock:
        state, slot = pool._state, first.slot
        assert slot is not None
        state._assign_locked(slot, waiter.lease, waiter.owner, None, clock.now())
        first.slot = None
    del waiter
    second.release()
    waiting.await_served()
    assert picture(pool) == {"idle": 1, "leased": 1}
    waiting.give_back()


def test_a_waiter_that_was_being_dismissed_when_that_was_interrupted_is_out(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()

    class Interrupting(OrderedDict[Waiter, None]):
        def pop(self, *args: Any) -> None:
            super().pop(*args)
            raise KeyboardInterrupt

        def __delitem__(self, waiter: Waiter) -> None:
            super().__delitem__(waiter)
            raise KeyboardInterrupt

    pool._state.waiters = Interrupting(pool._state.waiters)
    with pytest.raises(KeyboardInterrupt):
        lease.release()
    pool._state.waiters = OrderedDict()
    clock.advance(LOOK_AGAIN)
    waiting.give_back()
    assert picture(pool) == {"idle": 1}


def test_a_hand_over_that_is_interrupted_at_once_leaves_the_waiter_waiting(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It times out, and does not take the connection for its own."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()

    def interrupt(slot: Any, other: Any, *args: Any) -> None:
        other.slot = slot  # As far as it comes.
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool._state, "_assign_locked", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lease.release()
    assert lease.is_held()
    clock.advance(60)
    with pytest.raises(PoolTimeout):
        waiting.await_served()
    lease.release()


def test_behind_a_ghost_a_waiter_still_looks_for_itself(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first was interrupted on its way in and never looks, and no finaliser has told."""
    pool = make_pool(max_size=1)
    lease: Any = pool.acquire()
    with pool._lock:
        pool._state.acquire_locked(Lease(pool), here.owner, None, clock.now(), 5.0)
    waiting = Borrower(pool)
    clock.await_waiters()
    with monkeypatch.context() as patch:
        patch.setattr(Lost, "report", lambda *args, **kwargs: None)
        del lease
        gc.collect()
    clock.advance(LOOK_AGAIN)
    waiting.give_back()


def test_a_waiter_that_is_out_keeps_no_lease_alive(make_pool: MakePool, clock: ManualClock) -> None:
    """A slot comes back when the thread that waited drops its lease, if a ring is late or not."""
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    waiting = Borrower(pool)
    clock.await_waiters()
    waiter = first_waiter(pool)
    lease.release()
    waiting.await_served()
    assert waiter.is_out
    assert not any(isinstance(one, Lease) for one in gc.get_referents(waiter, vars(waiter)))
    waiting.give_back()
