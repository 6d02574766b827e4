"""Django's own interface of a connection, on a pooled one."""

from __future__ import annotations

import gc
from collections.abc import Callable

import psycopg
import pytest
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends.postgresql import base as stock
from django.db.backends.postgresql.features import DatabaseFeatures
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_connmgr import lease_connection, pools, unit_of_work
from testproject.cluster import Cluster
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .server import Server, await_that
from .threads import ask, in_a_thread, taken


def test_it_is_the_stock_wrapper_to_all_who_look(pool: Pool) -> None:
    wrapper = connections["default"]
    assert isinstance(wrapper, stock.DatabaseWrapper)
    assert isinstance(wrapper.features, DatabaseFeatures)
    assert (wrapper.vendor, wrapper.display_name) == ("postgresql", "PostgreSQL")
    wrapper.ensure_connection()
    assert wrapper.is_usable()


def test_the_real_connection_is_handed_out(pool: Pool) -> None:
    assert connection.connection is None
    connection.ensure_connection()
    assert type(connection.connection) is psycopg.Connection
    connection.close()
    assert connection.connection is None


def test_close_outside_a_transaction_gives_back(pool: Pool, server: Server) -> None:
    backend = ask()
    connection.close()
    connection.close()
    assert (taken(pool), pool.stats().idle, server.backends()) == (0, 1, {backend})
    assert ask() == backend


def test_close_inside_a_transaction_ends_it(pool: Pool) -> None:
    with transaction.atomic():
        Customer.objects.create(name="lost")
        connection.close()
        assert taken(pool) == 0
        with pytest.raises(ProgrammingError, match="in an atomic block"):
            ask()
    assert not Customer.objects.exists()
    assert connection.get_autocommit()


def test_close_pool_closes_idle_connections_and_the_next_use_makes_new_ones(
    pool: Pool, server: Server
) -> None:
    backend = ask()
    connection.close()
    connection.close_pool()
    assert server.count() == 0
    assert pool.stats().status == "closed"
    assert ask() != backend
    assert pools["default"] is not pool


def test_a_lease_outlives_its_closed_pool_and_is_closed_at_release(
    pool: Pool, server: Server
) -> None:
    lease_connection()
    backend = ask()
    connection.close_pool()
    assert ask() == backend
    connection.close()
    await_that(lambda: server.count() == 0)
    assert dict(pool.stats().closed) == {"pool_closed": 1}


def test_a_temporary_connection_goes_back_unless_there_was_one_before(pool: Pool) -> None:
    with connection.temporary_connection() as cursor:
        cursor.execute("SELECT 1")
    assert (connection.connection, taken(pool)) == (None, 0)
    connection.ensure_connection()
    backend = ask()
    with connection.temporary_connection():
        pass
    assert pool.stats().leased == 1
    assert (ask(), taken(pool)) == (backend, 1)


def test_a_copy_leases_from_the_same_pool(pool: Pool) -> None:
    lease_connection()
    mine = ask()
    copy = connection.copy()
    with copy.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (other,) = cursor.fetchone()
    assert other != mine
    assert (taken(pool), copy.connection_pool) == (2, pool)
    copy.close()
    assert taken(pool) == 1


def test_a_copy_that_is_forgotten_gives_back(pool: Pool) -> None:
    copy = connection.copy()
    copy.ensure_connection()
    assert taken(pool) == 1
    del copy
    gc.collect()
    assert taken(pool) == 0
    pool.maintain()  # Looking takes nothing back.
    assert pool.stats().reaped == 1


def test_a_connection_to_no_database_is_not_pooled(pool: Pool, server: Server) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("postgres",)
        assert cursor.db.connection_pool is None
        assert server.count() == 0
    assert pool.stats().opened == 0


def test_settings_changed_in_place_lead_to_another_pool(
    alias_of: Callable[..., str], cluster: Cluster
) -> None:
    """As test runners do when they swap the database's name: it counts from the next unit on."""
    alias = alias_of(cluster)
    with unit_of_work():
        ask(using=alias)
    old = pools[alias]
    connections.settings[alias]["NAME"] = "postgres"
    with unit_of_work():
        assert ask("SELECT current_database()", using=alias) == "postgres"
    new = pools[alias]
    assert new is not old
    assert [(p.stats().status, p.stats().idle) for p in (old, new)] == [("open", 1), ("open", 1)]
    connections[alias].close_pool()
    assert [(p.stats().status, p.stats().size) for p in (old, new)] == [("closed", 0)] * 2


def test_close_pool_closes_those_of_other_aliases_to_the_same_database(
    alias_of: Callable[..., str], cluster: Cluster
) -> None:
    """As mirrors in tests are: or the test database could not be dropped."""
    first, second, elsewhere = alias_of(cluster), alias_of(cluster), alias_of(cluster)
    connections.settings[elsewhere]["NAME"] = "postgres"
    made = []
    for alias in (first, second, elsewhere):
        ask(using=alias)
        connections[alias].close()
        made.append(pools[alias])
    connections[first].close_pool()
    assert [pool.stats().status for pool in made] == ["closed", "closed", "open"]
    assert [pool.stats().size for pool in made] == [0, 0, 1]


def test_queries_are_recorded_as_ever(pool: Pool) -> None:
    ask()
    connection.close()
    with CaptureQueriesContext(connections["default"]) as queries:
        ask("SELECT 1")
        connection.close()
        ask("SELECT 2")
    assert [query["sql"] for query in queries] == ["SELECT 1", "SELECT 2"]


def test_a_pool_option_of_false_is_the_stock_engine(
    alias_of: Callable[..., str], server: Server
) -> None:
    alias = alias_of(OPTIONS={"pool": False}, CONN_MAX_AGE=None)
    backend = ask(using=alias)
    connections[alias].close_if_unusable_or_obsolete()
    assert (connections[alias].connection_pool, alias in pools) == (None, False)
    assert ask(using=alias) == backend
    connections[alias].close()
    await_that(lambda: backend not in server.backends())


@override_settings(USE_TZ=True, TIME_ZONE="UTC")
def test_a_changed_time_zone_reaches_every_connection(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=2)

    def zone() -> str:
        answer: str = ask("SHOW TimeZone")
        connection.close()
        return answer

    assert (in_a_thread(zone), zone()) == ("UTC", "UTC")
    lease_connection()
    held = ask()
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Rome"):
        assert (ask(), ask("SHOW TimeZone")) == (held, "Europe/Rome")
        assert in_a_thread(zone) == "Europe/Rome"
        connection.close()
    assert (in_a_thread(zone), zone()) == ("UTC", "UTC")
    assert taken(pool) == 0
