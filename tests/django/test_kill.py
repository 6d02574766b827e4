"""An operator ends a lease: waiters get the place, and its owner is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction

from django_connmgr import with_connection
from django_connmgr._pool.stats import LeaseRecord
from django_connmgr.exceptions import PoolError
from testproject.shop.models import Customer
from tests.unit.helpers import PATIENCE, Worker

from .conftest import Pool, PoolOf
from .process import Python
from .server import Server, await_that
from .threads import ask

TAKEN_AWAY = "was taken away while it was held"


def only_lease(pool: Pool) -> LeaseRecord:
    (record,) = pool.leases()
    return record


def kill(pool: Pool) -> bool:
    record = only_lease(pool)
    return pool.kill(record.slot, record.since)


def select(number: int = 1) -> Any:
    return ask(f"SELECT {number}")


def test_a_waiter_gets_the_place_of_a_lease_that_was_ended(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1)
    with with_connection():
        select()
        waiter = Worker(select)
        await_that(lambda: pool.stats().waiting == 1)
        assert kill(pool)
        assert waiter.result() == 1
        with pytest.raises(PoolError, match=TAKEN_AWAY):
            select()
    assert select(2) == 2
    assert pool.stats().closed["killed"] == 1


def test_a_query_that_runs_is_cancelled_and_its_thread_told(
    pool_of: PoolOf, server: Server
) -> None:
    pool = pool_of(max_size=1)

    def sleep() -> None:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [PATIENCE])

    sleeper = Worker(sleep)
    await_that(lambda: any("transaction" in one.holds for one in pool.leases()))
    pid = only_lease(pool).backend_pid
    await_that(lambda: server.is_running("pg_sleep"))
    assert kill(pool)
    with pytest.raises(PoolError, match=TAKEN_AWAY):
        sleeper.result()
    await_that(lambda: pid not in server.backends())
    assert select() == 1
    assert pool.stats().leased == 0


def test_what_was_written_is_not_committed_and_that_is_no_secret(pool: Pool) -> None:
    with pytest.raises(PoolError, match=TAKEN_AWAY), transaction.atomic():
        Customer.objects.create(name="lost")
        assert kill(pool)
    assert not Customer.objects.filter(name="lost").exists()
    assert pool.stats().leased <= 1


def test_a_lease_that_is_not_used_again_leaves_nothing_behind(pool: Pool) -> None:
    with with_connection():
        select()
        assert kill(pool)
    assert pool.stats().size == 0
    assert select() == 1


def test_a_lease_that_has_ended_is_not_another_s_to_end(pool: Pool) -> None:
    with with_connection():
        select()
        record = only_lease(pool)
    with with_connection():
        select()
        assert not pool.kill(record.slot, record.since)
        assert select(3) == 3


def test_sqlite_s_connections_can_be_ended_too(pool_of: PoolOf) -> None:
    pool = pool_of("file", max_size=1)
    with with_connection("file") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert kill(pool)
        with pytest.raises(PoolError, match=TAKEN_AWAY):
            connection.cursor().execute("SELECT 1")
    assert ask("SELECT 1", using="file") == 1


def test_psycopg_2_s_connections_can_be_ended_too(python: Python) -> None:
    out = python(
        """
        pool = pools["default"]

        def end_it():
            while not any("transaction" in record.holds for record in pool.leases()):
                time.sleep(0.01)
            time.sleep(0.1)
            (record,) = pool.leases()
            killed.append(pool.kill(record.slot, record.since))

        killed = []
        thread = threading.Thread(target=end_it)
        thread.start()
        try:
            with transaction.atomic():
                ask("SELECT pg_sleep(30)::text")
        except Exception as error:
            print(type(error).__name__, "operator ended its lease" in str(error))
        thread.join()
        print(killed, ask("SELECT 1"), taken(pool))
        """,
        driver="psycopg2",
        pool="max_size=1",
    )
    assert out.splitlines() == ["PoolError True", "[True] 1 1"]
