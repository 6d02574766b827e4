"""The deadline of a unit of work, at every moment of a lease, and the thread that sees to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_connmgr._pool.cause import Deadline
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import DeadlineExceeded, PoolError
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import OVER, Scope, timed
from django_connmgr.testing import FakeDriver
from django_connmgr.units.deadlines import Deadlines
from django_connmgr.units.timed import TimedScope

from .helpers import PATIENCE, Borrower, Pool, Worker, picture

#: So far away that no test sees it.
LATER = 1_000.0


def scope_of(seconds: float, name: str = "unit") -> TimedScope:
    return TimedScope(name, Deadline.of(name, seconds))


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def pool(driver: FakeDriver) -> Iterator[Pool]:
    made: Pool = ConnectionPool("test", driver, Limits(max_size=2, reap_interval=0))
    yield made
    made.close()


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines()
    yield made
    for scope in timed.copy():
        scope.end()
    timed.clear()
    with made._changed:
        made._changed.notify()


def test_what_is_in_use_is_killed_and_its_owner_told(pool: Pool, driver: FakeDriver) -> None:
    scope = scope_of(0, "report")
    lease = pool.acquire(scope=scope)
    connection = lease.connection
    scope.expire()
    assert (connection.is_open, picture(pool)) == (False, {})
    with pytest.raises(DeadlineExceeded, match="'report' had 0 s for its databases"):
        lease.release()
    assert pool.stats().closed == {"deadline": 1}


def test_what_was_handed_over_to_it_and_never_rested_is_killed_too(pool: Pool) -> None:
    scope = scope_of(LATER)
    blockers = [pool.acquire() for _ in range(2)]
    borrower = Borrower(pool, scope=scope)
    await_that(lambda: pool.stats().waiting == 1)
    blockers[0].release()
    borrower.await_served()
    assert not scope.slots
    scope.expire()
    assert picture(pool) == {"leased": 1}
    with pytest.raises(DeadlineExceeded):
        borrower.give_back()
    blockers[1].release()


def test_what_is_warm_for_it_is_given_back(pool: Pool) -> None:
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    lease.release(is_warm=True)
    assert picture(pool) == {"idle": 1, "warm": 1}
    assert scope.has_leases()
    scope.expire()
    assert picture(pool) == {"idle": 1}
    assert not scope.has_leases()


def test_what_is_kept_for_it_is_given_back_clean(pool: Pool) -> None:
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    connection = lease.connection
    connection.state = ConnectionState.IN_TRANSACTION
    assert pool.keep(lease, scope)
    scope.expire()
    assert (picture(pool), connection.rollbacks) == ({"idle": 1}, 1)
    assert not pool.use(lease)


def test_what_it_leases_after_that_does_not_stay_warm_for_it(pool: Pool) -> None:
    """A thread that was just about to lease gets it still."""
    scope = scope_of(0)
    scope.expire()
    pool.acquire(scope=scope).release(is_warm=True)
    assert picture(pool) == {"idle": 1}


def test_leases_of_other_units_are_left_alone(pool: Pool) -> None:
    ours, theirs = scope_of(0), Scope("theirs")
    lease = pool.acquire(scope=theirs)
    pool.acquire(scope=ours).release(is_warm=True)
    ours.expire()
    assert lease.is_held()
    lease.release()


def test_nothing_of_it_is_warm_past_the_pool_while_there_is_a_deadline(
    pool: Pool, deadlines: Deadlines
) -> None:
    """A thread may have something warm of the unit that it worked on before."""
    lease = pool.acquire(scope=Scope("before"))
    slot: Any = lease.slot
    lease.release(is_warm=True)
    scope = scope_of(LATER)
    deadlines.watch(scope)
    assert pool.retake(slot) is None
    lease = pool.acquire(scope=scope)
    assert lease.slot is slot
    assert slot.scope is scope
    lease.release()
    scope.end()
    lease = pool.acquire(scope=Scope("after"))
    lease.release(is_warm=True)
    retaken = pool.retake(slot)
    assert retaken is not None
    retaken.release()


@pytest.mark.parametrize("state", [ConnectionState.UNUSABLE, ConnectionState.IN_TRANSACTION])
def test_of_what_was_leased_around_it_only_a_query_that_runs_is_ended(
    pool: Pool, state: ConnectionState
) -> None:
    lease = pool.acquire(scope=Scope("around"))
    slot: Any = lease.slot
    scope = scope_of(0, "inner")
    scope.outer.append((pool, slot.number, slot.leased_at))
    lease.connection.state = state
    runs = state is ConnectionState.UNUSABLE
    assert scope.has_leases() is runs
    scope.expire()
    assert lease.is_held() is not runs
    if runs:
        with pytest.raises(DeadlineExceeded, match="'inner'"):
            lease.release()
    else:
        lease.release()


def test_what_was_leased_around_it_may_be_another_s_by_then(pool: Pool) -> None:
    lease = pool.acquire(scope=Scope("around"))
    slot: Any = lease.slot
    scope = scope_of(0)
    scope.outer.append((pool, slot.number, slot.leased_at))
    lease.release()
    other = pool.acquire()
    assert other.slot is slot
    other.connection.state = ConnectionState.UNUSABLE
    scope.expire()
    assert other.is_held()
    other.discard()


def test_what_is_of_another_unit_by_now_is_not_killed(pool: Pool) -> None:
    """What a thread leased in one unit, and rests in another, is that one's from then on."""
    ours, theirs = scope_of(0), Scope("theirs")
    lease = pool.acquire(scope=ours)
    ((slot, since),) = pool.leases_in(ours)
    assert pool.keep(lease, theirs)
    assert pool.use(lease)
    assert not pool.kill(slot, since, ours, ours.deadline)
    assert lease.is_held()
    lease.release()


def test_nothing_is_killed_after_the_end_of_the_unit(pool: Pool) -> None:
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    scope.end()
    scope.expire()
    assert lease.is_held()
    lease.release()
    assert pool.stats().closed == {}


def test_the_end_of_the_unit_waits_for_what_is_being_killed(pool: Pool, driver: FakeDriver) -> None:
    """Or else what its thread does next, in the unit around it, would be hit."""
    scope = scope_of(0)
    leases = [pool.acquire(scope=scope) for _ in range(2)]
    is_killing, may_go_on = threading.Event(), threading.Event()

    def pause(_: object) -> None:
        is_killing.set()
        assert may_go_on.wait(PATIENCE)

    driver.on_kill = pause
    expiring = Worker(scope.expire)
    assert is_killing.wait(PATIENCE)
    ending = Worker(scope.end)
    time.sleep(0.02)
    assert scope.state is not OVER
    may_go_on.set()
    expiring.join()
    ending.join()
    assert scope.state is OVER
    assert not any(lease.is_held() for lease in leases)


def test_a_finaliser_may_end_the_unit_on_the_thread_that_kills(
    pool: Pool, driver: FakeDriver
) -> None:
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    driver.on_kill = lambda _: scope.end()
    scope.expire()
    assert scope.state is OVER
    assert not lease.is_held()


def test_its_owner_knows_the_cause_as_soon_as_its_lease_is_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    told: list[Exception] = []

    def use(_: object) -> None:
        """Between the decision and the deeds that follow."""
        if not lease.is_held() and not told:
            with pytest.raises(DeadlineExceeded) as caught:
                lease.release()
            told.append(caught.value)

    monkeypatch.setattr(pool._core, "act", use)
    scope.expire()
    assert len(told) == 1


def test_a_place_is_free_although_the_server_does_not_answer(
    pool: Pool, driver: FakeDriver
) -> None:
    def fail(_: object) -> None:
        raise OSError("gone")

    driver.on_kill = fail
    scope = scope_of(0)
    lease = pool.acquire(scope=scope)
    with pytest.raises(OSError, match="gone"):
        scope.expire()
    assert picture(pool) == {}
    with pytest.raises(DeadlineExceeded):
        lease.release()


def test_a_waiter_whose_unit_is_out_of_time_is_told_so(pool: Pool) -> None:
    blockers = [pool.acquire() for _ in range(2)]
    with pytest.raises(DeadlineExceeded, match=r"'late' had 0 s.*size=2 of max_size=2"):
        pool.acquire(0, scope=scope_of(0, "late"))
    with pytest.raises(PoolError, match="size=2 of max_size=2") as told:
        pool.acquire(0, scope=scope_of(LATER))
    assert not isinstance(told.value, DeadlineExceeded)
    for blocker in blockers:
        blocker.release()


def test_a_connect_that_ends_after_the_deadline_is_ended_at_the_next_look(
    pool: Pool, driver: FakeDriver, deadlines: Deadlines
) -> None:
    scope = scope_of(0.01)
    is_connecting, may_connect = threading.Event(), threading.Event()

    def pause() -> None:
        is_connecting.set()
        assert may_connect.wait(PATIENCE)

    driver.on_connect = pause
    borrower = Borrower(pool, scope=scope)
    assert is_connecting.wait(PATIENCE)
    deadlines.watch(scope)
    await_that(lambda: deadlines._looked_at > scope.deadline.at)
    may_connect.set()
    await_that(lambda: pool.stats().closed == {"deadline": 1})
    with pytest.raises(DeadlineExceeded):
        borrower.give_back()


def test_an_earlier_deadline_that_comes_later_is_met(pool: Pool, deadlines: Deadlines) -> None:
    deadlines.watch(scope_of(LATER))
    await_that(lambda: deadlines._looks_at > time.monotonic() + 1)
    scope = scope_of(0.02)
    lease = pool.acquire(scope=scope)
    deadlines.watch(scope)
    await_that(lambda: not lease.is_held())


def test_one_server_that_does_not_answer_delays_no_other_deadline(
    pool: Pool, driver: FakeDriver, deadlines: Deadlines
) -> None:
    frozen = FakeDriver()
    may_end = threading.Event()
    frozen.on_kill = lambda _: may_end.wait(PATIENCE)
    other: Pool = ConnectionPool("frozen", frozen, Limits(max_size=2, reap_interval=0))
    first, second = scope_of(0.01), scope_of(0.03)
    leases = [other.acquire(scope=first), pool.acquire(scope=second), other.acquire(scope=first)]
    deadlines.watch(first)
    deadlines.watch(second)
    await_that(lambda: not leases[1].is_held())
    await_that(lambda: deadlines._looked_at > second.deadline.at + 0.1)
    assert sum(thread.name == "django-connmgr-deadline" for thread in threading.enumerate()) == 1
    assert leases[2].is_held()
    may_end.set()
    await_that(lambda: not any(lease.is_held() for lease in leases))
    other.close()


def test_what_fails_is_logged_and_tried_again(
    pool: Pool, driver: FakeDriver, deadlines: Deadlines, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        driver.on_kill = lambda _: None
        raise OSError("gone")

    driver.on_kill = fail
    scope = scope_of(0.01)
    leases = [pool.acquire(scope=scope) for _ in range(2)]
    deadlines.watch(scope)
    await_that(lambda: not any(lease.is_held() for lease in leases))
    assert "could not be ended" in caplog.text


def test_the_thread_ends_with_the_last_unit_and_starts_again(deadlines: Deadlines) -> None:
    for _ in range(2):
        scope = scope_of(0.02)
        deadlines.watch(scope)
        thread: Any = deadlines._thread
        assert thread.is_alive()
        scope.end()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not timed


def test_a_unit_that_was_dropped_is_forgotten(pool: Pool, deadlines: Deadlines) -> None:
    scope = scope_of(LATER)
    pool.acquire(scope=scope).release(is_warm=True)
    deadlines.watch(scope)
    scope.abandon()
    assert not timed
    pool.reap()
    assert picture(pool) == {"idle": 1}
