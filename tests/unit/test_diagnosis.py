"""What pools say without being asked: slow acquires, idle transactions, blocked holders."""

from __future__ import annotations

import gc
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_connmgr._pool import report
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.logs import MOST, MOST_KINDS, PERIOD, Moderation
from django_connmgr._pool.scope import Scope
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import PATIENCE, Worker

# Slow acquires


def test_an_acquire_that_took_long_is_logged_with_what_it_took_so_long_for(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=1, slow_acquire=0.5)
    lease = pool.acquire()
    waiter = Worker(lambda: pool.acquire(scope=Scope("GET /")).release())
    clock.await_waiters()
    clock._now += 0.7
    lease.release()
    waiter.result()
    driver.on_connect = lambda: clock.advance(0.6)
    pool.recycle()
    pool.acquire().release()
    first, second = caplog.messages
    assert first.endswith(
        "in GET / got a connection after 0.700 s: 0.700 s in the queue, 0.000 s to connect or to "
        "check."
    )
    assert "0.000 s in the queue, 0.600 s to connect" in second
    assert (caplog.records[0].pool, caplog.records[0].unit) == ("test", "GET /")  # type: ignore[attr-defined]
    assert caplog.records[0].seconds == pytest.approx(0.7)  # type: ignore[attr-defined]


def test_fast_acquires_are_not_told(make_pool: MakePool, caplog: pytest.LogCaptureFixture) -> None:
    pool = make_pool(slow_acquire=0.5)
    scope = Scope("x")
    lease = pool.acquire(scope=scope)
    slot = lease.held_slot()
    lease.release(is_warm=True)
    assert pool.retake(slot) is None  # It is acquired anew, where it is timed.
    pool.acquire(scope=scope).release()
    assert caplog.messages == []
    assert pool.stats().opened == 1


# Leaks that come back


def test_a_long_lease_that_comes_back_after_all_is_told(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_threshold=10.0, reap_interval=0.0)
    lease = pool.acquire()
    clock.advance(11)
    pool.maintain()
    clock.advance(1)
    lease.release()
    clock.advance(5)
    pool.maintain()
    pool.maintain()
    assert len(caplog.messages) == 2
    name = threading.current_thread().name
    assert caplog.messages[1] == (
        f"Pool 'test': thread {name!r} gave back the connection that it had held for 12.0 s."
    )


# Idle transactions


def test_a_transaction_without_a_query_is_told_once_with_its_line(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(idle_transaction=10.0)
    lease = pool.acquire(scope=Scope("GET /slow/"))
    lease.connection.state = ConnectionState.IN_TRANSACTION
    for _ in range(3):
        pool.maintain()
        clock.advance(4)
        assert caplog.messages == []
    for _ in range(3):
        pool.maintain()
        clock.advance(4)
    lease.release()
    (message,) = caplog.messages
    assert "in GET /slow/ sits in an open transaction, and has run no query for 12.0 s" in message
    assert "test_a_transaction_without_a_query" in message


def test_one_that_runs_queries_or_ends_is_not_told(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(idle_transaction=10.0)
    lease = pool.acquire()
    for state in (ConnectionState.IN_TRANSACTION, ConnectionState.UNUSABLE) * 4:
        lease.connection.state = state
        pool.maintain()
        clock.advance(8)
    lease.connection.state = ConnectionState.IDLE
    lease.release()
    assert caplog.messages == []


def test_the_background_thread_looks_often_enough(make_pool: MakePool) -> None:
    assert make_pool(idle_transaction=10.0, reap_interval=60.0).reap_interval == 2.5
    assert make_pool(reap_interval=60.0).reap_interval == 60.0


# Holders that wait for those that wait


def by_join(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def by_future(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(work).result()


def by_queue(work: Callable[[], object]) -> None:
    answers: queue.Queue[object] = queue.Queue()
    thread = threading.Thread(target=lambda: answers.put(work()))
    thread.start()
    answers.get()
    thread.join()


@pytest.mark.parametrize("way", [by_join, by_future, by_queue])
def test_a_holder_that_waits_for_a_thread_that_waits_for_it_is_recognised(
    make_pool: MakePool, clock: ManualClock, way: Callable[[Callable[[], object]], None]
) -> None:
    pool = make_pool(max_size=1)
    errors: list[PoolTimeout] = []

    def need_one_more() -> None:
        try:
            pool.acquire(1.0)
        except PoolTimeout as error:
            errors.append(error)

    def hold() -> None:
        lease = pool.acquire()
        way(need_one_more)
        lease.release()

    holder = Worker(hold)
    clock.await_waiters()
    # The holder has gone to wait once its thread came to wait.
    time.sleep(0.05)
    clock.advance(2)
    holder.result()
    (error,) = errors
    assert "1 of 1 holders wait for another thread, which may itself wait here" in str(error)


def test_a_holder_that_sleeps_is_not_taken_for_one(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1)
    holds, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        lease = pool.acquire()
        holds.set()
        assert may_end.wait(PATIENCE)
        lease.release()

    holder = Worker(hold)
    assert holds.wait(PATIENCE)
    waiter = Worker(lambda: pool.acquire(1.0))
    clock.await_waiters()
    clock.advance(2)
    with pytest.raises(PoolTimeout, match="Hold connections for less time"):
        waiter.result()
    may_end.set()
    holder.result()


def test_many_that_time_out_at_once_look_at_the_threads_once(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(report, "current_frames", lambda: looks.append(1) or {})
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    for _ in range(2):
        waiters = [Worker(lambda: pool.acquire(1.0)) for _ in range(5)]
        clock.await_waiters(5)
        clock.advance(2)
        for waiter in waiters:
            with pytest.raises(PoolTimeout):
                waiter.result()
    lease.release()
    assert len(looks) == 2


def test_no_garbage_is_collected_while_the_threads_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(report.sys, "_current_frames", lambda: seen.append(gc.isenabled()) or {})
    report.current_frames()
    gc.disable()
    try:
        report.current_frames()
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]


_LOOKING = """
import gc, threading, time
from django_connmgr._pool.report import current_frames

class Slow:
    def __init__(self):
        self.me = self

    def __del__(self):
        time.sleep(0.0001)

def look_from(depth):
    return look_from(depth - 1) if depth else current_frames()

def look():
    for _ in range(100):
        garbage = [Slow() for _ in range(3)]
        del garbage
        look_from(5)

for number in range(2, 14):  # So that the collection comes at every place.
    gc.set_threshold(number, 10**6, 10**6)
    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_finalisers_that_let_others_run_do_not_stop_those_that_look() -> None:
    """In a process of its own: on Python 3.11 all of it stood still for ever."""
    subprocess.run([sys.executable, "-c", _LOOKING], check=True, timeout=PATIENCE)


# The log


def record(message: str, pool: str = "a") -> logging.LogRecord:
    made = logging.LogRecord("django_connmgr.pool", logging.WARNING, "", 0, message, (), None)
    made.pool = pool
    return made


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_same_message_is_said_a_few_times_a_minute_and_then_counted() -> None:
    seconds = Seconds()
    moderation = Moderation(seconds)
    said = [moderation.filter(record("x")) for _ in range(MOST + 3)]
    assert said == [True] * MOST + [False] * 3
    assert moderation.filter(record("y"))
    assert moderation.filter(record("x", pool="b"))
    seconds.now = PERIOD
    later = record("x")
    assert moderation.filter(later)
    assert later.getMessage() == "x (Of these, 3 were left out meanwhile.)"
    again = record("x")
    assert moderation.filter(again)
    assert again.getMessage() == "x"


def test_a_forked_child_inherits_no_lock() -> None:
    moderation = Moderation()
    moderation._lock.acquire()
    Worker(moderation.after_fork).result()
    assert Worker(lambda: moderation.filter(record("x"))).result()


def test_what_it_remembers_is_bounded() -> None:
    moderation = Moderation()
    for number in range(3 * MOST_KINDS):
        assert moderation.filter(record(str(number)))
    assert len(moderation._said) <= MOST_KINDS
