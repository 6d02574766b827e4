"""Threads that end without a word: what they leased comes back."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from psycopg.pq import TransactionStatus

from django_connmgr import lease_connection

from .conftest import Pool, PoolOf
from .server import Server, await_that
from .threads import ask, in_threads, taken

#: A query leaves its connection warm, and the end of the thread makes it anybody's; one that is
#: leased by hand has to be reaped.
USES = pytest.mark.parametrize(
    ("function", "reaped"), [(ask, 0), (lease_connection, 12)], ids=["warm", "leased"]
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@USES
def test_short_threads_on_a_small_pool_all_get_a_connection(
    pool_of: PoolOf, server: Server, function: Callable[[], Any], reaped: int
) -> None:
    pool = pool_of(max_size=4, reclaim=False)
    assert len(in_threads(12, function)) == 12
    assert taken(pool) == 0
    pool.maintain()  # Looking takes nothing back.
    stats = pool.stats()
    assert (stats.reaped, stats.timeouts) == (reaped, 0)
    assert stats.idle == stats.size == server.count() <= 4


@USES
@pytest.mark.usefixtures("no_collector")
def test_connections_come_back_without_the_collector(
    pool_of: PoolOf, server: Server, function: Callable[[], Any], reaped: int
) -> None:
    pool = pool_of(max_size=4, reclaim=False)
    in_threads(12, function)
    assert taken(pool) == 0
    pool.maintain()  # Looking takes nothing back.
    stats = pool.stats()
    assert (stats.reaped, stats.timeouts) == (reaped, 0)
    assert stats.idle == stats.size == server.count() <= 4


def test_a_dead_threads_transaction_is_rolled_back_before_the_next_borrower(pool: Pool) -> None:
    def leave_a_transaction() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SET LOCAL statement_timeout = 1234")

    pool.resize(1)
    in_threads(1, leave_a_transaction)
    assert connection.connection is None
    assert ask("SHOW statement_timeout") == "0"
    connection.ensure_connection()
    assert connection.connection.info.transaction_status == TransactionStatus.IDLE


def test_it_is_logged_who_never_gave_back(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    in_threads(1, lease_connection)
    assert pool.stats().leased == 0
    await_that(lambda: caplog.records)  # The reaper may be the one who writes it.
    (record,) = caplog.records
    assert "took back a connection that thread 'Thread-" in record.getMessage()
