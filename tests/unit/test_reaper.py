from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from django_connmgr._pool import core as core_module
from django_connmgr._pool.clock import Bell
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.reaper import Reaper
from django_connmgr.testing import FakeDriver

from .helpers import PATIENCE, Pool, Worker, borrow, picture

NAME = "django-connmgr-reaper"


class BellAsDoor(Bell):
    """A door without clients."""

    __slots__ = ()

    def close(self) -> None: ...
    def abandon(self) -> None: ...


@pytest.fixture(params=[None, BellAsDoor], ids=["alone", "with a door"])
def reaper(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Reaper]:
    """A reaper of the test's own, which must have ended with its last pool."""
    own = Reaper()
    own.make_door = request.param
    monkeypatch.setattr(core_module, "reaper", own)
    yield own
    thread = own._thread
    own.stop(PATIENCE)
    assert thread is None or not thread.is_alive()


def make(name: str = "test", reap_interval: float = 1000) -> Pool:
    return ConnectionPool(name, FakeDriver(), Limits(reap_interval=reap_interval))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class Patient:
    """As much of a pool as a reaper sees."""

    name = "patient"

    def __init__(self, reap_interval: float = 1000) -> None:
        self.reap_interval = reap_interval
        self.passes = threading.Semaphore(0)
        self.reaps = threading.Semaphore(0)
        self.looks = threading.Semaphore(0)
        self.is_troubled = False
        self.context: dict[Any, Any] = {}

    def reap(self) -> None:
        self.is_troubled = False
        self.reaps.release()

    def maintain(self) -> None:
        self.is_troubled = False
        self.context = dict(contextvars.copy_context())
        self.passes.release()

    def has_lost(self) -> bool:
        self.looks.release()
        return self.is_troubled


def await_end(thread: threading.Thread | None) -> None:
    assert thread is not None
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_pool_that_nobody_uses_starts_no_thread(reaper: Reaper) -> None:
    before = threads()
    pool = make()
    pool.stats()
    pool.maintain()
    assert threads() == before
    assert reaper._thread is None


def test_one_daemon_thread_looks_after_a_hundred_pools(reaper: Reaper) -> None:
    before = threads()
    pools = [make(f"pool {number}") for number in range(100)]
    for pool in pools:
        borrow(pool)
    (thread,) = set(threads()) - set(before)
    assert thread is reaper._thread
    assert (thread.name, thread.daemon) == (NAME, True)
    for pool in pools:
        pool.close()
    await_end(thread)
    assert threads() == before


def test_pools_that_are_first_used_at_once_start_one_thread(reaper: Reaper) -> None:
    before = threads()
    barrier = threading.Barrier(20)
    pools = [make() for _ in range(20)]

    def use(pool: Pool) -> None:
        barrier.wait(PATIENCE)
        borrow(pool)

    for worker in [Worker(lambda pool=pool: use(pool)) for pool in pools]:
        worker.result()
    assert len(set(threads()) - set(before)) == 1
    for pool in pools:
        pool.close()


def test_without_an_interval_there_is_no_thread(reaper: Reaper) -> None:
    pool = make(reap_interval=0)
    borrow(pool)
    assert reaper._thread is None
    pool.close()


def test_a_pool_that_nobody_knows_any_more_is_let_go_and_ends_the_thread(reaper: Reaper) -> None:
    patient = Patient()
    reaper.watch(patient)
    thread = reaper._thread
    assert patient.looks.acquire(timeout=PATIENCE)
    reaper.nudge()
    assert patient.looks.acquire(timeout=PATIENCE)
    reference = weakref.ref(patient)
    del patient
    await_end(thread)
    assert reference() is None


def test_a_pool_is_garbage_like_any_object(reaper: Reaper) -> None:
    pool = make()
    borrow(pool)
    thread = reaper._thread
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    await_end(thread)
    assert reference() is None


def test_after_the_last_pool_another_one_starts_another_thread(reaper: Reaper) -> None:
    first = make()
    borrow(first)
    thread = reaper._thread
    first.close()
    await_end(thread)
    second = make()
    borrow(second)
    assert reaper._thread not in (None, thread)
    second.close()


def test_a_closed_pool_is_left_alone_once_its_last_connection_is_back(reaper: Reaper) -> None:
    pool = make()
    lease = pool.acquire()
    thread = reaper._thread
    pool.close()
    assert thread is not None
    assert thread.is_alive()
    lease.release()
    await_end(thread)


def test_a_closed_pool_whose_last_lease_was_dropped_is_left_alone_too(reaper: Reaper) -> None:
    pool = make()
    lease = pool.acquire()
    thread = reaper._thread
    pool.close()
    del lease
    await_end(thread)
    assert picture(pool) == {}


def test_a_pool_that_was_closed_while_it_connected_in_vain_is_left_alone_too(
    reaper: Reaper,
) -> None:
    driver = FakeDriver()
    pool = ConnectionPool("test", driver, Limits(reap_interval=1000))
    lease = pool.acquire()
    thread = reaper._thread

    def close_and_fail() -> None:
        pool.close()
        lease.release()
        raise OSError("no route")

    driver.on_connect = close_and_fail
    with pytest.raises(OSError):
        pool.acquire()
    await_end(thread)


def test_upkeep_comes_at_each_interval(reaper: Reaper) -> None:
    patient = Patient(reap_interval=0.01)
    reaper.watch(patient)
    for _ in range(3):
        assert patient.passes.acquire(timeout=PATIENCE)


def test_each_pool_has_its_own_interval(reaper: Reaper) -> None:
    often, seldom = Patient(reap_interval=0.01), Patient(reap_interval=1000)
    reaper.watch(seldom)
    reaper.watch(often)
    for _ in range(3):
        assert often.passes.acquire(timeout=PATIENCE)
    assert not seldom.passes.acquire(blocking=False)


def test_a_finaliser_s_nudge_has_what_was_lost_taken_back_at_once(reaper: Reaper) -> None:
    """And nothing else done before its time, and nothing where nothing was lost."""
    patient, other = Patient(), Patient()
    reaper.watch(patient)
    reaper.watch(other)
    patient.is_troubled = True
    reaper.nudge()
    assert patient.reaps.acquire(timeout=PATIENCE)
    assert not other.reaps.acquire(blocking=False)
    assert not patient.passes.acquire(blocking=False)


def test_a_dropped_lease_is_taken_back_and_cleaned_although_nobody_asks(reaper: Reaper) -> None:
    driver = FakeDriver()
    pool = ConnectionPool("test", driver, Limits(reap_interval=1000))
    has_reset = threading.Event()
    driver.on_reset = lambda connection: has_reset.set()
    lease = pool.acquire()
    del lease
    assert has_reset.wait(PATIENCE)
    pool.close()


def test_upkeep_that_fails_is_logged_and_comes_again(
    reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Patient):
        is_failing = True

        def maintain(self) -> None:
            if self.is_failing:
                self.is_failing = False
                raise ZeroDivisionError
            super().maintain()

    patient = Failing(reap_interval=0.01)
    reaper.watch(patient)
    assert patient.passes.acquire(timeout=PATIENCE)
    assert caplog.messages == ["Upkeep of pool 'patient' failed; the next pass tries again."]


def test_the_thread_inherits_nothing_of_the_request_that_started_it(reaper: Reaper) -> None:
    variable = contextvars.ContextVar[str]("variable")
    variable.set("of one request")
    patient = Patient(reap_interval=0.01)
    reaper.watch(patient)
    assert patient.passes.acquire(timeout=PATIENCE)
    assert variable not in patient.context


def test_a_thread_that_cannot_be_started_is_tried_again_at_the_next_connection(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make()

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        borrow(pool)  # It works without.
    assert reaper._thread is None
    assert caplog.messages == ["Thread 'django-connmgr-reaper' could not be started."]
    pool.acquire().discard()
    borrow(pool)
    assert reaper._thread is not None
    pool.close()


def test_stop_forgets_every_pool_and_ends_the_thread(reaper: Reaper) -> None:
    patient = Patient()
    reaper.watch(patient)
    thread = reaper._thread
    reaper.stop(PATIENCE)
    assert thread is not None
    assert not thread.is_alive()


def test_stop_waits_for_a_thread_that_ends_already_until_it_has_closed_its_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last pool was closed just before, as at the exit of a process."""
    patient, reaper = Patient(), Reaper()
    closes, may_close = threading.Event(), threading.Event()

    class Slow(BellAsDoor):
        __slots__ = ()

        def close(self) -> None:
            closes.set()
            assert may_close.wait(PATIENCE)

    reaper.make_door = Slow
    reaper.watch(patient)
    thread = reaper._thread
    assert thread is not None
    reaper.unwatch(patient)
    assert closes.wait(PATIENCE)
    join = thread.join

    def let_it_close_and_join(timeout: float) -> None:
        may_close.set()
        join(timeout)

    monkeypatch.setattr(thread, "join", let_it_close_and_join)
    try:
        reaper.stop(PATIENCE)
        assert not thread.is_alive()
    finally:
        may_close.set()


def test_stop_on_the_thread_itself_does_not_wait_for_it(reaper: Reaper) -> None:
    class Stopping(Patient):
        def maintain(self) -> None:
            reaper.stop(PATIENCE)
            super().maintain()

    patient = Stopping(reap_interval=0.01)
    reaper.watch(patient)
    thread = reaper._thread
    assert patient.passes.acquire(timeout=PATIENCE)
    await_end(thread)


class Silent(Patient):
    """It does not tell what it needs, once it is looked after."""

    is_silent = False

    @property
    def reap_interval(self) -> float:
        if self.is_silent:
            raise RuntimeError("wrong settings")
        return self._interval

    @reap_interval.setter
    def reap_interval(self, value: float) -> None:
        self._interval = value


def test_one_that_raises_when_it_is_asked_does_not_end_the_thread(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    silent, other = Silent(0.001), Patient(0.001)
    reaper.watch(silent)
    reaper.watch(other)
    silent.is_silent = True
    for _ in range(3):
        assert other.passes.acquire(timeout=PATIENCE)
    reaper.nudge()
    assert other.passes.acquire(timeout=PATIENCE)
    assert "does not tell what it needs" in caplog.text
    reaper.unwatch(silent)
    reaper.unwatch(other)


def test_what_is_asked_may_have_others_looked_after(reaper: Reaper) -> None:
    """As a finaliser does that strikes meanwhile."""
    other = Patient()

    class Watching(Patient):
        def has_lost(self) -> bool:
            reaper.watch(other)
            return False

    watching = Watching()
    reaper.watch(watching)
    for _ in range(3):
        reaper.nudge()
    reaper.hurry(other, 0.0)
    reaper.hurry(watching, 0.0)
    assert watching.passes.acquire(timeout=PATIENCE)
    reaper.hurry(other, 0.0)
    assert other.passes.acquire(timeout=PATIENCE)
    reaper.unwatch(watching)
    reaper.unwatch(other)


def test_a_thread_that_has_died_is_started_again(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Patient(0.001)
    reaper.watch(pool)
    assert pool.passes.acquire(timeout=PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(reaper, "_pass", lambda: None)
        thread = reaper._thread
        assert thread is not None
        reaper.nudge()
        thread.join(PATIENCE)
    while pool.passes.acquire(blocking=False):
        pass
    reaper.watch(pool)
    assert pool.passes.acquire(timeout=PATIENCE)
    reaper.unwatch(pool)


class Broken(BellAsDoor):
    """A door whose descriptors were closed behind its back."""

    __slots__ = ()

    def wait(self, timeout: float = -1) -> bool:
        raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize("make_door", [Broken, lambda: 1 / 0], ids=["wait", "open"])
def test_a_door_that_fails_leaves_a_thread_that_looks_after_pools(
    make_door: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reaper, patient = Reaper(), Patient(reap_interval=0.001)
    reaper.make_door = make_door
    reaper.watch(patient)
    for _ in range(3):
        assert patient.passes.acquire(timeout=PATIENCE)
    reaper.stop(PATIENCE)
    assert len(caplog.messages) == 1
    assert "clients" in caplog.messages[0]


def test_a_thread_that_ends_closes_its_own_door_and_not_the_next_one_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next pool comes just as the last one has gone."""
    first, second = Patient(), Patient()
    doors: list[Counted] = []
    reaper = Reaper()
    close_door = reaper._close_door

    def close_late(door: Any) -> None:
        if door is doors[0]:
            reaper.watch(second)
            await_door(1)
        close_door(door)

    def await_door(number: int) -> None:
        while len(doors) <= number or reaper._door is not doors[number]:
            threading.Event().wait(0.001)

    def make_door() -> Counted:
        doors.append(Counted())
        return doors[-1]

    monkeypatch.setattr(reaper, "_close_door", close_late)
    reaper.make_door = make_door
    reaper.watch(first)
    thread = reaper._thread
    await_door(0)
    reaper.unwatch(first)
    await_end(thread)
    assert [door.closes for door in doors] == [1, 0]
    assert reaper._bell is doors[1]
    reaper.stop(PATIENCE)
    assert doors[1].closes == 1


class Counted(BellAsDoor):
    """Knows how often it was closed."""

    __slots__ = ("closes",)

    def __init__(self) -> None:
        super().__init__()
        self.closes = 0

    def close(self) -> None:
        self.closes += 1
