"""SQLite: files are pooled, databases in memory are not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import OperationalError, connections, transaction

from django_connmgr import (
    PoolTimeout,
    lease_connection,
    pools,
    release_connection,
    with_connection,
)
from testproject.shop.models import Customer

from .conftest import PoolOf
from .threads import ask, in_a_thread, in_threads, taken

AliasOf = Callable[..., str]


def test_a_file_is_pooled(pool_of: PoolOf) -> None:
    pool = pool_of("file", max_size=2)
    for number in range(3):
        Customer.objects.using("file").create(name=str(number))
        connections["file"].close()
    assert in_threads(4, lambda: Customer.objects.using("file").count()) == [3] * 4
    assert (taken(pool), pool.stats().opened) == (0, pool.stats().idle)
    assert pool.stats().opened <= 2


def test_the_bound_holds_for_files_too(pool_of: PoolOf) -> None:
    pool_of("file", max_size=1, timeout=0.01)
    with (
        with_connection("file") as wrapper,
        pytest.raises(PoolTimeout, match="size=1 of max_size=1"),
    ):
        assert isinstance(wrapper.connection, sqlite3.Connection)
        in_a_thread(lambda: ask("SELECT 1", using="file"))


@pytest.mark.parametrize("name", [":memory:", "file:shared?mode=memory&cache=shared"])
def test_a_database_in_memory_is_never_pooled(alias_of: AliasOf, name: str) -> None:
    alias = alias_of(like="file", NAME=name)
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE numbers (n int)")
    connections[alias].close_if_unusable_or_obsolete()
    assert ask("SELECT count(*) FROM numbers", using=alias) == 0
    assert (connections[alias].connection_pool, alias in pools) == (None, False)
    connections[alias].connection.close()  # Django never does.


def test_options_of_the_engine_hold_for_connections_of_other_threads(
    alias_of: AliasOf, tmp_path: Path
) -> None:
    alias = alias_of(
        like="file",
        NAME=str(tmp_path / "options.sqlite3"),
        OPTIONS={"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA cache_size=77"},
    )
    in_a_thread(lambda: (ask("SELECT 1", using=alias), connections[alias].close()))
    sent: list[str] = []
    for _ in range(2):
        assert ask("PRAGMA cache_size", using=alias) == 77
        connections[alias].connection.set_trace_callback(sent.append)
        with transaction.atomic(using=alias):
            ask("SELECT 1", using=alias)
        connections[alias].connection.set_trace_callback(None)
        connections[alias].close()
    assert sent == ["BEGIN IMMEDIATE", "SELECT 1", "COMMIT"] * 2
    assert connections[alias].connection_pool.stats().opened == 1


def test_a_forgotten_transaction_frees_the_file(pool_of: PoolOf) -> None:
    pool_of("file", max_size=2)
    transaction.set_autocommit(False, using="file")
    Customer.objects.using("file").create(name="forgotten")
    connections["file"].close()
    in_a_thread(lambda: Customer.objects.using("file").create(name="next"))
    assert [customer.name for customer in Customer.objects.using("file").all()] == ["next"]


def test_sqlites_own_errors_come_through(alias_of: AliasOf, tmp_path: Path) -> None:
    alias = alias_of(like="file", NAME=str(tmp_path / "no" / "such" / "folder.sqlite3"))
    with pytest.raises(OperationalError, match="unable to open database file"):
        ask("SELECT 1", using=alias)
    assert connections[alias].connection_pool.stats().size == 0


def test_a_cursor_of_the_driver_s_own_takes_a_statement_without_parameters(pool_of: PoolOf) -> None:
    pool_of("file")
    connection = lease_connection("file")
    cursor = connection.connection.cursor()
    assert cursor.execute("SELECT 1").fetchone() == (1,)
    assert cursor.execute("SELECT ?", [2]).fetchone() == (2,)
    cursor.close()
    release_connection("file")
