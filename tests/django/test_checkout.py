"""What a connection is like right after its checkout on whichever thread it was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from psycopg import IsolationLevel

from django_connmgr import lease_connection
from django_connmgr.checks import check_max_age
from testproject.shop.models import Customer

from .conftest import Pool
from .engines.geographic.base import GeographicDatabaseWrapper
from .engines.rotating import base as rotating
from .server import Server, await_that
from .threads import ask, in_a_thread

AliasOf = Callable[..., str]


def open_elsewhere(alias: str) -> int:
    """Open a connection in another thread, and return its backend."""

    def work() -> int:
        backend: int = ask(using=alias)
        connections[alias].close()
        return backend

    backend: int = in_a_thread(work)
    return backend


def test_the_isolation_level_is_that_of_the_settings(alias_of: AliasOf) -> None:
    alias = alias_of(OPTIONS={"isolation_level": IsolationLevel.SERIALIZABLE})
    backend = open_elsewhere(alias)
    for _ in range(2):
        with transaction.atomic(using=alias):
            assert ask(using=alias) == backend
            assert ask("SHOW transaction_isolation", using=alias) == "serializable"
        assert connections[alias].isolation_level == IsolationLevel.SERIALIZABLE
        connections[alias].close()


def test_the_role_is_that_of_the_settings(alias_of: AliasOf) -> None:
    alias = alias_of(OPTIONS={"assume_role": "pg_monitor"})
    backend = open_elsewhere(alias)
    for _ in range(2):
        assert ask(using=alias) == backend
        assert ask("SELECT current_user", using=alias) == "pg_monitor"
        connections[alias].close()


@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_is_that_of_the_settings(alias_of: AliasOf, *, autocommit: bool) -> None:
    alias = alias_of(AUTOCOMMIT=autocommit)
    backend = open_elsewhere(alias)
    for _ in range(2):
        wrapper = lease_connection(alias)
        assert ask(using=alias) == backend
        assert (wrapper.get_autocommit(), wrapper.connection.autocommit) == (
            autocommit,
            autocommit,
        )
        wrapper.rollback()
        wrapper.set_autocommit(not autocommit)
        wrapper.close()


def test_without_autocommit_work_is_kept_only_by_a_commit(alias_of: AliasOf) -> None:
    alias = alias_of(AUTOCOMMIT=False)
    Customer.objects.using(alias).create(name="forgotten")
    connections[alias].close()
    Customer.objects.using(alias).create(name="committed")
    transaction.commit(using=alias)
    connections[alias].close()
    assert [customer.name for customer in Customer.objects.all()] == ["committed"]


@pytest.fixture
def created() -> Iterator[list[Any]]:
    """What receivers of ``connection_created`` were told, and what they saw."""
    seen: list[Any] = []

    def note(sender: object, connection: Any, **kwargs: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            seen.append((connection, cursor.fetchone()[0]))

    connection_created.connect(note)
    yield seen
    connection_created.disconnect(note)


def test_connection_created_is_sent_once_for_each_physical_connection(
    pool: Pool, created: list[Any]
) -> None:
    backends = []
    for _ in range(3):
        backends.append(ask())
        connection.close()
    assert created == [(connections["default"], backends[0])]
    in_a_thread(ask)
    pool.stats()
    assert len(created) == pool.stats().opened == 1


def test_connection_created_sees_the_threads_own_connection(pool: Pool, created: list[Any]) -> None:
    mine = ask()
    wrapper, backend = in_a_thread(lambda: (connections["default"], ask()))
    assert created == [(connections["default"], mine), (wrapper, backend)]


def test_a_receiver_that_fails_leaves_nothing_behind(pool: Pool, server: Server) -> None:
    def fail(**kwargs: object) -> None:
        raise KeyError("broken receiver")

    connection_created.connect(fail)
    try:
        with pytest.raises(KeyError, match="broken receiver"):
            ask()
    finally:
        connection_created.disconnect(fail)
    assert (pool.stats().size, connection.connection) == (0, None)
    await_that(lambda: server.count() == 0)
    assert ask("SELECT 1") == 1


def test_connection_parameters_are_asked_for_at_each_physical_connect(
    alias_of: AliasOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["first", "second"])
    monkeypatch.setattr(rotating, "credentials", lambda: {"application_name": next(names)})
    alias = alias_of(ENGINE="tests.django.engines.rotating")
    for _ in range(2):
        assert ask("SHOW application_name", using=alias) == "first"
        connections[alias].close()
    connections[alias].connection_pool.recycle()
    assert ask("SHOW application_name", using=alias) == "second"


def test_an_engine_on_top_of_ours_makes_its_own_cursors(alias_of: AliasOf) -> None:
    alias = alias_of(ENGINE="tests.django.engines.searching")
    for schema in ("ada", "bob"):
        connections[alias].schema = schema
        assert ask("SHOW search_path", using=alias) == schema
        with connections[alias].chunked_cursor() as cursor:
            cursor.execute("SELECT current_setting('search_path')")
            assert cursor.fetchone() == (schema,)


def test_a_wrapped_engine_keeps_what_is_its_own(alias_of: AliasOf) -> None:
    alias = alias_of(ENGINE="tests.django.engines.geographic")
    backend = open_elsewhere(alias)
    wrapper = connections[alias]
    assert isinstance(wrapper, GeographicDatabaseWrapper)
    assert wrapper.features.gis_enabled
    assert wrapper.ops.geography
    assert ask(using=alias) == backend
    assert (wrapper.types_registered_on, wrapper.prepared) == (backend, 0)
    wrapper.close()
    assert wrapper.connection_pool.stats().idle == 1


def test_conn_max_age_is_refused(alias_of: AliasOf) -> None:
    alias = alias_of(CONN_MAX_AGE=60)
    (message,) = check_max_age()
    assert (message.id, alias in message.msg) == ("connmgr.E004", True)
    with pytest.raises(ImproperlyConfigured, match="'CONN_MAX_AGE'\\] must be 0"):
        ask(using=alias)


def test_configure_runs_once_for_each_physical_connection(alias_of: AliasOf) -> None:
    configured: list[Any] = []
    alias = alias_of(OPTIONS={"pool": {"configure": configured.append}})
    for _ in range(2):
        connections[alias].ensure_connection()
        raw = connections[alias].connection
        connections[alias].close()
    assert configured == [raw]


def test_check_runs_at_each_checkout_and_its_failure_costs_the_connection(
    alias_of: AliasOf,
) -> None:
    def check(raw: Any) -> None:
        if verdicts.pop():
            raise ValueError("no good")

    verdicts = [True, False]
    alias = alias_of(OPTIONS={"pool": {"check": check}})
    backends = []
    for _ in range(3):
        backends.append(ask(using=alias))
        connections[alias].close()
    assert backends[0] == backends[1] != backends[2]
    assert verdicts == []
