"""``with_connection()`` in coroutines: it holds in the thread where the ORM runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, transaction
from django.db.transaction import TransactionManagementError

from django_connmgr import (
    PoolTimeout,
    lease_connection,
    release_connection,
    release_connections,
    released,
    unit_of_work,
    with_connection,
    wrap_executor,
)
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .server import await_that
from .threads import ask, taken

pytestmark = pytest.mark.usefixtures("no_loop_left")


@pytest.fixture
def occupied(pool_of: PoolOf) -> Iterator[tuple[Pool, threading.Event]]:
    """A pool of one whose connection another thread holds until the event is set."""
    pool = pool_of(max_size=1, timeout=30)
    leave = threading.Event()

    def hold() -> None:
        with with_connection():
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    await_that(lambda: taken(pool) == 1)
    yield pool, leave
    leave.set()
    thread.join()


def test_it_holds_in_the_orms_thread(pool: Pool) -> None:
    async def work() -> None:
        async with with_connection() as wrapper:
            assert wrapper.connection is not None
            first = await sync_to_async(ask)()
            await Customer.objects.acreate(name="Ada")
            async with with_connection():
                pass
            assert await sync_to_async(ask)() == first
            assert taken(pool) == 1
        assert taken(pool) == 0

    async_to_sync(work)()
    assert pool.stats().checkouts == 1


def test_a_decorated_coroutine_function_stays_one(pool: Pool) -> None:
    @with_connection()
    async def work() -> int:
        assert taken(pool) == 1
        return await Customer.objects.acount()

    assert iscoroutinefunction(work)
    assert async_to_sync(work)() == 0
    assert taken(pool) == 0


def test_an_error_gives_back_and_comes_through(pool: Pool) -> None:
    async def work() -> None:
        async with with_connection():
            raise KeyError

    with pytest.raises(KeyError):
        async_to_sync(work)()
    assert taken(pool) == 0


def test_a_timeout_comes_through(occupied: tuple[Pool, threading.Event]) -> None:
    pool, _ = occupied

    async def work() -> None:
        async with with_connection(timeout=0.01):
            pytest.fail("there is none")

    with pytest.raises(PoolTimeout):
        async_to_sync(work)()
    assert (pool.stats().waiting, taken(pool)) == (0, 1)


def test_a_task_cancelled_while_it_waits_loses_nothing(
    occupied: tuple[Pool, threading.Event],
) -> None:
    pool, leave = occupied

    async def hold() -> None:
        async with with_connection():
            pytest.fail("it was cancelled before")

    async def main() -> None:
        task = asyncio.create_task(hold())
        await asyncio.to_thread(await_that, lambda: pool.stats().waiting)
        task.cancel()
        await asyncio.sleep(0)
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(main)()
    await_that(lambda: taken(pool) == 0)
    assert (connection.connection, pool.stats().idle) == (None, 1)


def test_a_task_cancelled_inside_gives_back(pool: Pool) -> None:
    async def hold(inside: asyncio.Event) -> None:
        async with with_connection():
            inside.set()
            await asyncio.Event().wait()

    async def main() -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(hold(inside))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(main)()
    assert (taken(pool), pool.stats().idle) == (0, 1)


# ``released()``, and what acts on the calling thread.


def test_released_gives_back_what_the_orms_thread_leases(pool: Pool) -> None:
    async def work() -> None:
        async with with_connection():
            async with released():
                assert taken(pool) == 0
                assert await Customer.objects.acount() == 0
                assert taken(pool) == 1
            async with released("default"):
                assert taken(pool) == 0
        assert taken(pool) == 0

    async_to_sync(work)()


def test_released_decorates_coroutine_functions(pool: Pool) -> None:
    @released()
    async def slow() -> int:
        return taken(pool)

    async def work() -> tuple[int, int]:
        async with unit_of_work():
            await sync_to_async(lease_connection)()
            return taken(pool), await slow()

    assert iscoroutinefunction(slow)
    assert async_to_sync(work)() == (1, 0)


def test_released_refuses_in_a_transaction_of_the_orms_thread(pool: Pool) -> None:
    async def work() -> None:
        async with released():
            pytest.fail("there is a transaction")

    with transaction.atomic():
        backend = ask()
        with pytest.raises(TransactionManagementError, match="'default'"):
            async_to_sync(work)()
        assert ask() == backend


def enter(block: AbstractContextManager[object]) -> None:
    with block:
        pass


ON_THIS_THREAD = {
    "lease_connection": lease_connection,
    "release_connection": release_connection,
    "release_connections": release_connections,
    "released": lambda: enter(released()),
}


@pytest.mark.parametrize("name", ON_THIS_THREAD)
def test_on_an_event_loop_it_says_what_to_do_instead(pool: Pool, name: str) -> None:
    async def work() -> None:
        ON_THIS_THREAD[name]()

    instead = "async with released" if name == "released" else rf"sync_to_async\({name}\)"
    with pytest.raises(SynchronousOnlyOperation, match=instead):
        async_to_sync(work)()
    assert (taken(pool), pool.stats().checkouts) == (0, 0)


@pytest.mark.parametrize("name", ON_THIS_THREAD)
def test_on_an_event_loop_it_works_if_django_is_told_to_allow_it(
    pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

    async def work() -> int:
        ask()
        ON_THIS_THREAD[name]()
        leased = taken(pool)
        connection.close()
        return leased

    assert async_to_sync(work)() == (name == "lease_connection")


def test_signals_and_calls_that_end_on_an_event_loop_raise_nothing(pool: Pool) -> None:
    class AtOnce(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

    async def work() -> int:
        request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/a"})
        answer = wrap_executor(AtOnce()).submit(int, 7)
        request_finished.send(None)
        return int(answer)

    async def run() -> int:
        # Django's own receivers are for threads without a loop.
        request_started.disconnect(close_old_connections)
        request_finished.disconnect(close_old_connections)
        try:
            return await work()
        finally:
            request_started.connect(close_old_connections)
            request_finished.connect(close_old_connections)

    assert async_to_sync(run)() == 7
    assert taken(pool) == 0


def test_what_outlives_a_unit_that_leased_nothing_gives_back_after_each_use(pool: Pool) -> None:
    async def main() -> None:
        is_over = asyncio.Event()

        async def query_later() -> None:
            await is_over.wait()
            await asyncio.to_thread(ask)
            assert taken(pool) == 0

        async with unit_of_work():
            later = asyncio.create_task(query_later())
        is_over.set()
        await later

    async_to_sync(main)()


def test_what_was_handed_over_to_a_unit_and_never_rested_goes_with_it(
    occupied: tuple[Pool, threading.Event],
) -> None:
    pool, leave = occupied
    cursors: list[Any] = []

    def open_cursor() -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT generate_series(1, 3)")
        cursors.append(cursor)

    async def work() -> None:
        async with unit_of_work():
            opening = asyncio.create_task(sync_to_async(open_cursor)())
            await asyncio.to_thread(await_that, lambda: pool.stats().waiting == 1)
            leave.set()
            await opening
            assert pool.stats().leased == 1
        assert taken(pool) == 0

    async_to_sync(work)()
