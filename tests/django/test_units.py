"""Units of work: what is leased in one goes when it ends, on whichever thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import connection, transaction
from django.test import Client

from django_connmgr import (
    lease_connection,
    release_connection,
    unit_of_work,
    with_connection,
)
from django_connmgr.signals import unit_finished, unit_started
from django_connmgr.units import task_unit
from django_connmgr.units.current import current_unit

from .conftest import Pool
from .threads import ask, in_a_thread, in_threads, taken


class Worker:
    """A thread that works on the unit of work of the thread that made it, step by step."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []
        self._may_go = threading.Semaphore(0)
        self._has_gone = threading.Semaphore(0)
        self._result: Any = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,))
        self._thread.start()

    def _run(self) -> None:
        while True:
            assert self._may_go.acquire(timeout=30)
            if not self._steps:
                return
            try:
                self._result = self._steps.pop()()
            except BaseException as error:
                self._result = error
            self._has_gone.release()

    def do(self, step: Callable[[], Any]) -> Any:
        self._steps.append(step)
        self._may_go.release()
        assert self._has_gone.acquire(timeout=30)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def end(self) -> None:
        self._may_go.release()
        self._thread.join(30)


@pytest.fixture
def worker_here() -> Iterator[Callable[[], Worker]]:
    """Makes threads that work on the current unit."""
    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker())
        return workers[-1]

    yield make
    for worker in workers:
        worker.end()


def leased(pool: Pool) -> int:
    """Connections that are in use, kept, or warm for a unit of work."""
    return taken(pool)


def test_the_end_releases(pool: Pool) -> None:
    with unit_of_work():
        ask()
        assert leased(pool) == 1
    assert leased(pool) == 0


def test_an_exception_releases_and_goes_on(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError), unit_of_work():
        ask()
        raise ZeroDivisionError
    assert leased(pool) == 0


def test_it_decorates_functions(pool: Pool) -> None:
    @unit_of_work()
    def work(number: int) -> tuple[int, int, str]:
        unit = current_unit.get()
        assert unit is not None
        return number, ask("SELECT 1"), unit.name

    assert work(7) == (7, 1, "test_it_decorates_functions.<locals>.work")
    assert leased(pool) == 0


def test_it_decorates_coroutine_functions(pool: Pool) -> None:
    @unit_of_work("message")
    async def work(number: int) -> tuple[int, int, str]:
        unit = current_unit.get()
        assert unit is not None
        return number, await sync_to_async(ask)("SELECT 1"), unit.name

    assert async_to_sync(work)(7) == (7, 1, "message")
    assert leased(pool) == 0


def test_a_nested_unit_releases_only_what_it_leased(pool: Pool) -> None:
    with unit_of_work():
        pid = ask()
        with unit_of_work():
            assert ask() == pid
        assert leased(pool) == 1
        release_connection()
        with unit_of_work():
            ask()
        assert leased(pool) == 0


def test_what_was_leased_before_the_first_unit_of_a_thread_is_released_when_it_starts(
    pool: Pool,
) -> None:
    def work() -> list[int]:
        lease_connection()
        counts = [leased(pool)]
        with unit_of_work():
            counts.append(leased(pool))
        lease_connection()
        with unit_of_work():
            counts.append(leased(pool))
        release_connection()
        return counts

    assert in_a_thread(work) == [1, 0, 1]


def test_the_first_unit_of_a_thread_leaves_what_belongs_to_the_request_around_it(
    pool: Pool,
) -> None:
    def serve() -> list[int]:
        request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/a"})
        cursor = connection.cursor()
        cursor.execute("SELECT generate_series(1, 2)")
        numbers = [cursor.fetchone()[0]]
        with unit_of_work():
            pass
        numbers.append(cursor.fetchone()[0])
        request_finished.send(None)
        return numbers

    assert in_a_thread(serve) == [1, 2]
    assert leased(pool) == 0


def test_the_first_unit_of_a_thread_leaves_what_belongs_to_its_starters_unit(
    pool: Pool, worker_here: Callable[[], Worker]
) -> None:
    def work() -> bool:
        wrapper = lease_connection()
        before = wrapper.connection
        with unit_of_work():
            pass
        return before is not None and wrapper.connection is before

    with unit_of_work():
        assert worker_here().do(work)
        assert leased(pool) == 1
    assert leased(pool) == 0


def test_a_transaction_outlives_the_unit_and_goes_when_it_ends(pool: Pool) -> None:
    with transaction.atomic():
        release_connection()
    release_connection()
    atomic = transaction.atomic()
    with unit_of_work():
        atomic.__enter__()
    assert leased(pool) == 1
    assert ask("SELECT 1") == 1
    atomic.__exit__(None, None, None)
    assert leased(pool) == 0


def test_a_block_outlives_the_unit_and_goes_when_it_ends(pool: Pool) -> None:
    block = with_connection()
    with unit_of_work():
        block.__enter__()
    assert leased(pool) == 1
    block.__exit__(None, None, None)
    assert leased(pool) == 0


def test_autocommit_off_does_not_outlive_the_unit(pool: Pool) -> None:
    with unit_of_work():
        transaction.set_autocommit(False)
        ask()
    assert leased(pool) == 0
    assert connection.get_autocommit()


# Other threads.


def test_other_threads_leases_go_with_the_unit(
    pool: Pool, worker_here: Callable[[], Worker]
) -> None:
    with unit_of_work():
        workers = [worker_here(), worker_here()]
        for worker in workers:
            worker.do(ask)
        workers[1].do(lease_connection)
        assert leased(pool) == 2
    assert leased(pool) == 0
    assert workers[0].do(lambda: ask("SELECT 1")) == 1  # It notices nothing.


def test_a_thread_that_was_not_asked_to_keeps_its_own(pool: Pool) -> None:
    may_end, has_leased = threading.Event(), threading.Event()

    def work() -> None:
        ask()
        has_leased.set()
        assert may_end.wait(30)

    with unit_of_work():
        thread = threading.Thread(target=work)
        thread.start()
        assert has_leased.wait(30)
        ask()
    assert leased(pool) == 1
    may_end.set()
    thread.join(30)


@pytest.mark.parametrize("hold", [with_connection, transaction.atomic])
def test_what_another_thread_uses_goes_when_it_stops(
    pool: Pool, worker_here: Callable[[], Worker], hold: Callable[[], Any]
) -> None:
    block = hold()
    with unit_of_work():
        worker = worker_here()
        worker.do(block.__enter__)
    pid = worker.do(ask)
    assert leased(pool) == 1
    assert worker.do(ask) == pid
    worker.do(lambda: block.__exit__(None, None, None))
    assert leased(pool) == 0


def test_what_another_threads_cursor_uses_goes_when_it_is_dropped(
    pool: Pool, worker_here: Callable[[], Worker]
) -> None:
    cursors: list[Any] = []
    with unit_of_work():
        worker = worker_here()
        worker.do(lambda: cursors.append(connection.cursor()))
    assert leased(pool) == 1
    worker.do(cursors.clear)
    assert leased(pool) == 0
    assert worker.do(lambda: ask("SELECT 1")) == 1


def test_what_is_leased_after_the_end_goes_after_each_query(
    pool: Pool, worker_here: Callable[[], Worker]
) -> None:
    with unit_of_work():
        worker = worker_here()
    worker.do(ask)
    assert leased(pool) == 0
    worker.do(lease_connection)
    assert leased(pool) == 1
    worker.do(release_connection)


def test_what_is_leased_while_the_unit_ends_is_not_forgotten(
    pool: Pool, worker_here: Callable[[], Worker]
) -> None:
    with unit_of_work() as unit:
        worker = worker_here()
        held: list[Any] = []

        class Slow(dict[Any, Any]):
            """Lets the end of the unit look at its slots just before another is added."""

            def __setitem__(self, key: Any, value: Any) -> None:
                held.append(unit.end())
                super().__setitem__(key, value)

        unit.scope.slots = Slow()
        worker.do(ask)
    assert held == [0]
    assert leased(pool) == 0


def test_threads_may_lease_and_end_units_all_at_once(pool: Pool) -> None:
    def work() -> int:
        with unit_of_work():
            context = copy_context()
            inner = threading.Thread(target=context.run, args=(ask,))
            inner.start()
            ask()
        inner.join(30)
        return 1

    assert sum(in_threads(8, work)) == 8
    assert leased(pool) == 0


# Async.


def test_threads_of_a_task_lease_for_its_unit(pool: Pool) -> None:
    async def work() -> int:
        async with unit_of_work():
            await asyncio.to_thread(ask)
            await sync_to_async(ask, thread_sensitive=False)()
            await sync_to_async(ask)()
            await asyncio.create_task(sync_to_async(ask, thread_sensitive=False)())
            count = await asyncio.to_thread(leased, pool)
        assert await asyncio.to_thread(leased, pool) == 0
        return count

    assert async_to_sync(work)() >= 2


def test_units_of_tasks_that_run_side_by_side_do_not_mix(pool: Pool) -> None:
    async def first(other_leased: asyncio.Event, first_ended: asyncio.Event) -> None:
        async with unit_of_work("first"):
            await asyncio.to_thread(ask)
            await other_leased.wait()
        first_ended.set()

    async def work() -> tuple[int, int]:
        other_leased, first_ended = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(first(other_leased, first_ended))
        async with unit_of_work("second"):
            await asyncio.to_thread(lease_connection)
            other_leased.set()
            await first_ended.wait()
            between = await asyncio.to_thread(leased, pool)
        await task
        return between, await asyncio.to_thread(leased, pool)

    between, after = async_to_sync(work)()
    assert (between, after) == (1, 0)


@pytest.mark.parametrize("cancellations", [1, 2])
def test_a_cancelled_task_releases(pool: Pool, cancellations: int) -> None:
    async def work(has_leased: asyncio.Event) -> None:
        async with unit_of_work():
            await asyncio.to_thread(lease_connection)
            has_leased.set()
            await asyncio.Event().wait()

    async def run() -> None:
        has_leased = asyncio.Event()
        task = asyncio.create_task(work(has_leased))
        await has_leased.wait()
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)  # Let it get as far as the end of its unit.
        with pytest.raises(asyncio.CancelledError):
            await task
        await sync_to_async(int)()  # Behind the end of the unit, in the same thread.

    async_to_sync(run)()
    assert leased(pool) == 0


def test_an_exception_in_a_task_releases(pool: Pool) -> None:
    async def work() -> None:
        async with unit_of_work():
            await asyncio.to_thread(lease_connection)
            raise ZeroDivisionError

    async def run() -> None:
        with pytest.raises(ZeroDivisionError):
            await work()

    async_to_sync(run)()
    assert leased(pool) == 0


# Requests.


def test_a_request_is_a_unit_inside_the_surrounding_one(pool: Pool) -> None:
    with unit_of_work() as unit:
        request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/a"})
        request = current_unit.get()
        assert repr(request) == "<Unit 'GET /a', running>"
        ask()
        request_finished.send(None)
        assert leased(pool) == 0
        assert current_unit.get() is unit
        ask()
    assert leased(pool) == 0


def test_a_request_that_never_finished_ends_with_the_next(pool: Pool) -> None:
    request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/a"})
    first = current_unit.get()
    ask()
    request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/b"})
    assert repr(first) == "<Unit 'GET /a', over>"
    assert leased(pool) == 0
    request_finished.send(None)
    assert current_unit.get() is None


# Signals.


def test_signals_tell_what_a_unit_took(pool: Pool) -> None:
    told: list[tuple[Any, ...]] = []

    def started(unit: Any, **kwargs: Any) -> None:
        told.append(("started", unit.name, dict(unit.counts)))

    def finished(unit: Any, released: int, **kwargs: Any) -> None:
        told.append(("finished", unit.name, dict(unit.counts), released, leased(pool)))

    unit_started.connect(started)
    unit_finished.connect(finished)
    try:
        with unit_of_work("outer"):
            ask()
            release_connection()
            ask()
            with unit_of_work("inner"):
                ask()
                ask(using="second")
    finally:
        unit_started.disconnect(started)
        unit_finished.disconnect(finished)
    assert told == [
        ("started", "outer", {}),
        ("started", "inner", {}),
        ("finished", "inner", {"second": 1}, 1, 1),
        ("finished", "outer", {"default": 2}, 1, 0),
    ]


def test_a_receiver_that_fails_changes_nothing(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: Any) -> None:
        raise ZeroDivisionError

    unit_finished.connect(fail)
    try:
        with unit_of_work():
            ask()
    finally:
        unit_finished.disconnect(fail)
    assert leased(pool) == 0
    assert "ZeroDivisionError" in caplog.text


def test_a_long_unit_does_not_collect_what_it_released(pool: Pool) -> None:
    with unit_of_work() as unit:
        for _ in range(200):
            ask()
            release_connection()
        assert len(unit.scope.slots) == 0
        assert unit.counts == {"default": 200}


def test_a_lease_is_described_by_its_unit(pool: Pool) -> None:
    with unit_of_work("outer"):
        with unit_of_work("inner"), with_connection():
            assert [lease.unit for lease in pool.leases()] == ["inner"]
        with with_connection():
            assert [lease.unit for lease in pool.leases()] == ["outer"]
    assert pool.leases() == []


def test_a_test_client_inside_a_unit_leaves_the_unit_in_place(pool: Pool) -> None:
    with unit_of_work() as unit:
        assert Client().get("/no-such-page").status_code == 404
        assert current_unit.get() is unit


def test_what_a_script_leases_after_a_command_is_released_when_the_first_unit_starts(
    pool: Pool,
) -> None:
    def script() -> list[int]:
        call_command("check", verbosity=0)
        ask()
        before = leased(pool)
        with unit_of_work():
            return [before, leased(pool)]

    assert in_a_thread(script) == [1, 0]


def test_a_task_of_a_worker_within_its_callers_unit_takes_nothing_from_that(pool: Pool) -> None:
    with unit_of_work("caller"):
        lease_connection()
        leased = connection.connection
        with task_unit("task"):
            assert (connection.connection, taken(pool)) == (leased, 1)
        assert (connection.connection, taken(pool)) == (leased, 1)


def test_a_task_begins_with_nothing_of_what_its_worker_leased_before(pool: Pool) -> None:
    lease_connection()
    assert taken(pool) == 1
    with task_unit("task"):
        assert (connection.connection, taken(pool)) == (None, 0)
