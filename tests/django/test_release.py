"""When a connection goes back, and when it must not."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, connections, transaction
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from django_connmgr import release_connection, release_connections
from django_connmgr.backends.postgresql.psycopg3 import Psycopg3Driver
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .server import Server
from .threads import ask, in_a_thread, taken


@pytest.mark.parametrize(
    "release",
    [
        lambda wrapper: wrapper.close(),
        lambda wrapper: close_old_connections(),
        lambda wrapper: release_connections(),
        lambda wrapper: release_connection(),
        lambda wrapper: request_finished.send(None),
        lambda wrapper: request_started.send(None),
    ],
    ids=["close", "close_old", "release_all", "release", "request_finished", "request_started"],
)
def test_the_connection_is_idle_afterwards(pool: Pool, release: object) -> None:
    backend = ask()
    assert callable(release)
    release(connections["default"])
    assert connection.connection is None
    assert (pool.stats().idle, taken(pool)) == (1, 0)
    assert in_a_thread(ask) == backend


@pytest.mark.parametrize(
    "release",
    [close_old_connections, release_connections, lambda: request_finished.send(None)],
    ids=["close_old", "release_all", "request_finished"],
)
def test_a_transaction_is_left_alone(pool: Pool, release: object) -> None:
    assert callable(release)
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        backend = ask()
        release()
        assert ask() == backend
        assert taken(pool) == 1
    assert Customer.objects.get().name == "Ada"


def test_a_forgotten_transaction_is_rolled_back_and_the_next_borrower_is_clean(
    pool_of: PoolOf,
) -> None:
    pool = pool_of(max_size=1)
    transaction.set_autocommit(False)
    Customer.objects.create(name="forgotten")
    backend = ask()
    close_old_connections()

    def borrow() -> tuple[int, bool, bool, int]:
        customers = Customer.objects.count()
        connection.ensure_connection()
        autocommit = connection.connection.autocommit
        return ask(), autocommit, connection.get_autocommit(), customers

    assert in_a_thread(borrow) == (backend, True, True, 0)
    assert pool.stats().opened == 1


def test_what_a_borrower_set_on_the_driver_is_undone(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    connection.ensure_connection()
    raw = connection.connection
    raw.isolation_level, raw.read_only, raw.prepare_threshold = 4, True, 1
    before = raw.row_factory
    raw.row_factory = dict
    connection.close()
    connection.ensure_connection()
    assert connection.connection is raw
    assert (raw.isolation_level, raw.read_only, raw.prepare_threshold) == (None, None, None)
    assert raw.row_factory is before
    assert raw.info.transaction_status == TransactionStatus.IDLE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("autocommit", False),
        ("isolation_level", 4),
        ("read_only", True),
        ("deferrable", True),
        ("row_factory", dict_row),
        ("cursor_factory", psycopg.Cursor),
        ("server_cursor_factory", psycopg.RawServerCursor),
        ("prepare_threshold", 7),
    ],
)
def test_each_single_thing_that_a_borrower_sets_is_undone(
    pool_of: PoolOf, name: str, value: Any
) -> None:
    pool = pool_of(max_size=1)
    assert set(pool.driver.restored) >= {name}  # type: ignore[attr-defined]
    connection.ensure_connection()
    raw = connection.connection
    before = getattr(raw, name)
    setattr(raw, name, value)
    connection.close()
    connection.ensure_connection()
    assert connection.connection is raw
    assert (getattr(raw, name), before == value) == (before, False)


def test_what_is_undone_is_also_looked_at(pool: Pool) -> None:
    """Where the driver keeps it: its names are not public, and might change."""
    connection.ensure_connection()
    driver: Any = pool.driver
    lease = connection.borrower.lease  # type: ignore[attr-defined]
    looked_at = {name.rpartition(".")[2].lstrip("_") for name in driver.pictured}
    assert looked_at >= set(driver.restored)
    assert lease.slot.pristine == driver.look(lease.connection)


def test_a_transaction_leaves_nothing_to_be_undone(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(max_size=1)
    resets: list[object] = []
    monkeypatch.setattr(pool.driver, "reset", resets.append)
    for _ in range(2):
        with transaction.atomic():
            ask()
        connection.close()
    assert resets == []


def test_a_driver_that_keeps_things_elsewhere_is_asked_for_each(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Psycopg3Driver, "pictured", ("_elsewhere",))
    pool_of(max_size=1)
    connection.ensure_connection()
    raw = connection.connection
    raw.read_only = True
    connection.close()
    connection.ensure_connection()
    assert (connection.connection is raw, raw.read_only) == (True, None)


def test_a_connection_the_user_broke_is_not_lent_again(pool: Pool) -> None:
    backend = ask()
    connection.ensure_connection()
    connection.connection.close()
    connection.close()
    assert ask() != backend
    assert dict(pool.stats().closed) == {"unusable": 1}


def test_an_unread_result_is_not_left_to_the_next_borrower(pool: Pool) -> None:
    connection.ensure_connection()
    backend = connection.connection.info.backend_pid
    connection.connection.pgconn.send_query(b"SELECT 1")
    connection.close()
    assert ask() != backend
    assert dict(pool.stats().closed) == {"unusable": 1}


def test_one_aliass_failure_never_stops_the_others(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pool_of("default"), pool_of("second")

    class Broken:
        def release(self) -> bool:
            raise ValueError("broken")

    ask()
    ask(using="second")
    with monkeypatch.context() as patch:
        patch.setattr(connections["default"], "borrower", Broken())
        assert release_connections() == 1
    assert (taken(first), taken(second)) == (1, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "Could not release the connection of 'default'."
    ]


@pytest.mark.parametrize("release", [close_old_connections, release_connections])
def test_a_server_that_broke_off_in_a_transaction_stops_no_release(
    pool_of: PoolOf, server: Server, release: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(release)
    pools = [pool_of("default"), pool_of("second")]
    for alias in ("default", "second"):
        transaction.set_autocommit(False, using=alias)
        server.kill({ask(using=alias)})
    release()
    assert [taken(pool) for pool in pools] == [0, 0]
    assert [dict(pool.stats().closed) for pool in pools] == [{"reset_failed": 1}] * 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}
