"""Units of work with a deadline: their leases end with it, and no other owner notices."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent import futures
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection, transaction

from django_connmgr import (
    DeadlineExceeded,
    PoolTimeout,
    ThreadPoolExecutor,
    lease_connection,
    unit_of_work,
    with_connection,
)
from testproject.shop.models import Customer
from tests.unit.helpers import PATIENCE, Worker

from .conftest import Pool, PoolOf
from .process import Python
from .server import Server, await_that
from .threads import ask, in_a_thread, in_threads, taken

pytestmark = pytest.mark.usefixtures("no_loop_left")

#: More than the deadline, less than the query.
SOON = 0.7
SLEEP = "SELECT pg_sleep(5)::text"


def overdue(unit: str = "", *, text: str = "") -> Any:
    """Sees that the deadline of the unit is what ended the block, and that the error says so."""
    unit = f"Unit of work {unit!r}" if unit else ""
    return pytest.raises(DeadlineExceeded, match=f"(?s){unit}.* had .*{re.escape(text)}")


def test_a_query_that_runs_is_cancelled_and_the_error_says_why(
    pool_of: PoolOf, server: Server
) -> None:
    pool = pool_of(max_size=1)
    began = time.monotonic()
    with overdue("report"), unit_of_work("report", deadline=0.5):
        ask(SLEEP)
    assert 0.5 <= time.monotonic() - began < SOON
    await_that(lambda: not server.is_running("pg_sleep"))
    assert ask("SELECT 7") == 7
    assert pool.stats().closed == {"deadline": 1}
    assert taken(pool) <= 1


def test_a_query_in_a_transaction_is_cancelled_and_the_transaction_rolled_back(
    pool: Pool,
) -> None:
    began = time.monotonic()
    with overdue(), unit_of_work(deadline=0.3), transaction.atomic():
        Customer.objects.create(name="overdue")
        ask(SLEEP)
    assert time.monotonic() - began < SOON
    assert not Customer.objects.filter(name="overdue").exists()


def test_what_is_committed_too_late_is_not_and_that_is_told(pool: Pool) -> None:
    is_told = overdue(text="What was not committed is lost")
    with is_told, unit_of_work(deadline=0.1), transaction.atomic():
        Customer.objects.create(name="overdue")
        await_that(lambda: pool.stats().closed)
    assert not Customer.objects.filter(name="overdue").exists()


def test_nothing_more_is_asked_of_a_database_after_it(pool: Pool) -> None:
    with unit_of_work(deadline=0.5) as unit:
        ask()
        await_that(lambda: taken(pool) == 0)
        assert (unit.time_left or 1) <= 0
        for _ in range(2):
            with overdue(text="gets no connection of 'default'"):
                ask()
    assert ask("SELECT 1") == 1


def test_a_unit_that_is_in_time_notices_nothing(pool: Pool) -> None:
    for _ in range(3):
        with unit_of_work(deadline=30) as unit:
            assert ask("SELECT 1") == 1
            assert 29 < (unit.time_left or 0) <= 30
        assert taken(pool) == 0
    assert pool.stats().opened == 1


def test_without_a_deadline_there_is_no_end(pool: Pool) -> None:
    with unit_of_work() as unit:
        assert unit.time_left is None


def test_a_wait_for_a_connection_ends_with_it(pool_of: PoolOf) -> None:
    pool_of(max_size=1, timeout=30)

    def wait() -> None:
        with unit_of_work("waiter", deadline=0.2):
            ask()

    with with_connection():
        ask()
        began = time.monotonic()
        with overdue("waiter", text="size=1 of max_size=1"):
            in_a_thread(wait)
        assert time.monotonic() - began < SOON


def test_the_timeout_of_the_pool_holds_if_it_is_shorter(pool_of: PoolOf) -> None:
    pool_of(max_size=1, timeout=0.1)

    def wait() -> None:
        with unit_of_work(deadline=30):
            ask()

    with with_connection():
        ask()
        with pytest.raises(PoolTimeout):
            in_a_thread(wait)


def test_a_nested_unit_has_what_is_left_of_the_outer_one_s_time(pool: Pool) -> None:
    began = time.monotonic()
    is_told = overdue("outer")
    with is_told, unit_of_work("outer", deadline=0.2), unit_of_work("inner", deadline=30):
        ask(SLEEP)
    assert time.monotonic() - began < SOON


def test_a_nested_unit_may_have_less(pool: Pool) -> None:
    with unit_of_work("outer", deadline=30):
        with overdue("inner"), unit_of_work("inner", deadline=0.2):
            ask(SLEEP)
        assert ask("SELECT 1") == 1


def test_every_alias_and_every_thread_of_it_has_the_same_time(pool_of: PoolOf) -> None:
    first, second = pool_of(max_size=2), pool_of("second", max_size=2)

    def sleep(alias: str) -> None:
        ask(SLEEP, using=alias)

    with unit_of_work(deadline=0.3), ThreadPoolExecutor() as executor:
        began = time.monotonic()
        sleepers = [executor.submit(sleep, alias) for alias in ("default", "second") * 2]
        for sleeper in sleepers:
            with overdue():
                sleeper.result()
        assert time.monotonic() - began < SOON
    assert taken(first) == taken(second) == 0


def test_what_a_thread_left_warm_for_another_unit_is_not_past_the_deadline(pool: Pool) -> None:
    """A thread of an executor that others own serves one unit after the other."""
    with futures.ThreadPoolExecutor(1) as executor:
        executor.submit(ask).result()
        assert taken(pool) == 1
        with unit_of_work(deadline=0.2):
            sleeper = executor.submit(copy_context().run, ask, SLEEP)
            with overdue():
                sleeper.result()


def test_what_the_thread_had_warm_before_is_not_past_it_either(pool: Pool) -> None:
    ask()
    with overdue(), unit_of_work(deadline=0.2):
        ask(SLEEP)


def test_a_query_in_a_transaction_around_it_is_cancelled(pool: Pool) -> None:
    """As of a view with ``ATOMIC_REQUESTS``: the whole transaction is lost, and that is told."""
    began = time.monotonic()
    with overdue(), transaction.atomic():
        Customer.objects.create(name="around")
        with unit_of_work(deadline=0.2):
            ask(SLEEP)
    assert time.monotonic() - began < SOON
    assert not Customer.objects.filter(name="around").exists()
    assert pool.stats().leased == 0


def test_a_transaction_around_it_goes_on_if_no_query_runs(pool: Pool) -> None:
    with transaction.atomic():
        with unit_of_work(deadline=0.5) as unit:
            ask()
            await_that(lambda: (unit.time_left or 0) < -0.2)
        Customer.objects.create(name="around")
    assert Customer.objects.filter(name="around").exists()


def test_a_lease_that_rests_is_given_back(pool: Pool) -> None:
    with unit_of_work(deadline=0.5):
        lease_connection()
        await_that(lambda: taken(pool) == 0)
        with overdue():
            ask()
    assert pool.stats().closed == {}


def test_the_end_of_the_unit_is_the_end_of_its_deadline(pool: Pool) -> None:
    """What a thread of it goes on to do is not stopped: it is of no unit that is running."""
    results: list[Any] = []
    began = threading.Event()

    def work() -> None:
        began.set()
        results.append(ask("SELECT 1 FROM pg_sleep(0.3)"))
        results.append(ask("SELECT 2"))

    with unit_of_work(deadline=0.2):
        context = copy_context()
        thread = threading.Thread(target=context.run, args=[work])
        thread.start()
        assert began.wait(PATIENCE)
    thread.join(PATIENCE)
    assert results == [1, 2]


def test_coroutines_have_it_too(pool: Pool) -> None:
    async def work() -> None:
        async with unit_of_work("coroutine", deadline=0.3):
            await sync_to_async(ask)(SLEEP)

    began = time.monotonic()
    with overdue("coroutine"):
        async_to_sync(work)()
    assert time.monotonic() - began < SOON
    assert pool.stats().leased == 0


def test_a_transaction_that_a_coroutine_s_thread_has_is_cancelled_too(pool: Pool) -> None:
    def begin() -> None:
        connection.set_autocommit(False)
        ask()

    def leave() -> None:
        connection.close()

    async def work() -> None:
        await sync_to_async(begin)()
        try:
            async with unit_of_work(deadline=0.3):
                await sync_to_async(ask)(SLEEP)
        finally:
            await sync_to_async(leave)()

    began = time.monotonic()
    with overdue():
        async_to_sync(work)()
    assert time.monotonic() - began < SOON


def test_a_coroutine_that_is_cancelled_cancels_its_query(pool: Pool, server: Server) -> None:
    errors: list[Exception] = []

    def sleep() -> None:
        try:
            ask(SLEEP)
        except OperationalError as error:
            errors.append(error)

    async def work() -> None:
        async with unit_of_work("cancelled", deadline=30):
            await sync_to_async(sleep, thread_sensitive=False)()

    async def visit() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(await_that, lambda: server.is_running("pg_sleep"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    began = time.monotonic()
    async_to_sync(visit)()
    await_that(lambda: bool(errors))
    assert time.monotonic() - began < 3
    assert "'cancelled' was cancelled" in str(errors[0])
    await_that(lambda: pool.stats().closed == {"cancelled": 1})
    assert pool.stats().leased == 0


@unit_of_work(deadline=0.2)
def decorated() -> None:
    ask(SLEEP)


def test_functions_have_it_at_every_call(pool: Pool) -> None:
    for _ in range(2):
        with overdue("decorated"):
            decorated()


def test_the_example_of_the_guide_works(pool: Pool) -> None:
    from .test_readme import run

    assert run("deadlines", "sales report")["report"]() == {"sales": None}


@pytest.mark.parametrize("deadline", [0, -1, "5", True, float("inf"), float("nan")])
def test_what_is_no_number_of_seconds_is_refused(deadline: Any) -> None:
    with pytest.raises(ValueError, match="give a number of seconds above 0"):
        unit_of_work(deadline=deadline)


def test_connections_of_sqlite_are_given_back_too(pool_of: PoolOf) -> None:
    pool = pool_of("file", max_size=1)
    with unit_of_work(deadline=0.5):
        ask("SELECT 1", using="file")
        await_that(lambda: taken(pool) == 0)
        with overdue():
            ask("SELECT 1", using="file")
    assert ask("SELECT 1", using="file") == 1


def test_a_query_of_sqlite_is_interrupted(pool_of: PoolOf) -> None:
    pool = pool_of("file", max_size=1)
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) "
        "SELECT count(*) FROM n"
    )
    with overdue("endless"), unit_of_work("endless", deadline=0.2):
        ask(endless, using="file")
    assert ask("SELECT 1", using="file") == 1
    assert pool.stats().closed == {"deadline": 1}


def test_queries_of_psycopg_2_are_cancelled_too(python: Python) -> None:
    out = python(
        """
        began = time.monotonic()
        try:
            with unit_of_work("report", deadline=0.5), transaction.atomic():
                ask("SELECT pg_sleep(5)::text")
        except DeadlineExceeded as error:
            print("'report' had 0.5 s" in str(error), time.monotonic() - began < 0.7)
        print(ask("SELECT 1"), taken(pools["default"]))
        """,
        driver="psycopg2",
        pool="max_size=1",
    )
    assert out.splitlines() == ["True True", "1 1"]


def test_a_child_begins_without_the_deadlines_of_its_parent(python: Python) -> None:
    out = python(
        """
        def work(seconds):
            try:
                with unit_of_work(deadline=0.2):
                    return ask(f"SELECT pg_sleep({seconds})::text || 'done'")
            except DeadlineExceeded:
                return "exceeded"

        with unit_of_work(deadline=30):
            pid = os.fork()
            if not pid:
                from django_connmgr._pool.scope import timed

                print(len(timed), flush=True)
                print(work(0), work(5), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
        print(work(0), work(5))
        """,
        pool="max_size=1",
    )
    assert out.splitlines() == ["0", "done exceeded", "done exceeded"]


@pytest.mark.stress
def test_no_other_owner_notices_a_deadline(pool_of: PoolOf, server: Server) -> None:
    """A thousand deadlines that pass before, while and after a query ends, with others behind."""
    pool = pool_of(max_size=8, timeout=30)
    outcomes = {"done": 0, "exceeded": 0}
    count = threading.Lock()
    is_over = threading.Event()

    def race() -> None:
        for number in range(125):
            try:
                with unit_of_work(deadline=0.03), transaction.atomic():
                    ask(f"SELECT pg_sleep({number % 25 / 600})::text")
                outcome = "done"
            except DeadlineExceeded:
                outcome = "exceeded"
            with count:
                outcomes[outcome] += 1

    def go_on() -> int:
        """What has no deadline, and sees neither an end nor a limit of others."""
        queries = 0
        while not is_over.is_set():
            with transaction.atomic():
                assert ask(f"SELECT {queries}") == queries
                assert ask("SHOW statement_timeout") == "0"
            queries += 1
        return queries

    others = [Worker(go_on) for _ in range(2)]
    try:
        in_threads(8, race, timeout=PATIENCE)
    finally:
        is_over.set()
    assert all(other.result() for other in others)
    assert sum(outcomes.values()) == 1_000
    assert min(outcomes.values()) > 50, outcomes
    assert set(pool.stats().closed) == {"deadline"}
    await_that(lambda: pool.stats().leased == 0)
