"""What is sent to the server, from the server's log."""

from __future__ import annotations

from collections.abc import Callable

from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections, transaction

from django_connmgr import release_connections, with_connection
from testproject.cluster import Cluster

from .server import Log
from .threads import ask

STOCK = "django.db.backends.postgresql"


def send_requests(alias: str, count: int) -> None:
    for _ in range(count):
        request_started.send(None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/"})
        ask("SELECT 'asked'", using=alias)
        request_finished.send(None)


def test_connecting_sends_what_stock_sends(
    alias_of: Callable[..., str], talkative_cluster: Cluster
) -> None:
    changes = {"TIME_ZONE": "Europe/Rome", "OPTIONS": {"assume_role": "pg_monitor"}}
    pooled = alias_of(talkative_cluster, **changes)
    stock = alias_of(talkative_cluster, ENGINE=STOCK, **changes)
    del connections.settings[stock]["OPTIONS"]["pool"]
    sent = []
    for alias in (stock, pooled):
        log = Log(talkative_cluster)
        ask("SELECT 'asked'", using=alias)
        sent.append(log.statements())
        connections[alias].close()
    assert sent[0] == sent[1]
    assert sent[1][-1] == "SELECT 'asked'"
    assert [sql.split(" ")[0] for sql in sent[1]] == ["SELECT", "SET", "SELECT"]


def test_a_request_sends_its_query_and_nothing_else(
    alias_of: Callable[..., str], talkative_cluster: Cluster
) -> None:
    alias = alias_of(talkative_cluster)
    send_requests(alias, 1)
    log = Log(talkative_cluster)
    send_requests(alias, 5)
    assert log.statements() == ["SELECT 'asked'"] * 5
    assert "connection" not in log.text()


def test_a_release_sends_nothing(alias_of: Callable[..., str], talkative_cluster: Cluster) -> None:
    alias = alias_of(talkative_cluster)
    releases = [
        connections[alias].close,
        close_old_connections,
        release_connections,
        lambda: request_finished.send(None),
    ]
    ask(using=alias)
    log = Log(talkative_cluster)
    for release in releases:
        with with_connection(alias):
            pass
        connections[alias].ensure_connection()
        release()
        assert connections[alias].connection is None
    assert log.text() == ""


def test_a_transaction_sends_what_stock_sends(
    alias_of: Callable[..., str], talkative_cluster: Cluster
) -> None:
    alias = alias_of(talkative_cluster)
    connections[alias].ensure_connection()
    log = Log(talkative_cluster)
    with transaction.atomic(using=alias):
        ask("SELECT 1", using=alias)
        with transaction.atomic(using=alias):
            ask("SELECT 2", using=alias)
    connections[alias].close()
    sent = [sql.split(" ")[0] for sql in log.statements()]
    assert sent == ["BEGIN", "SELECT", "SAVEPOINT", "SELECT", "RELEASE", "COMMIT"]


def test_a_forgotten_transaction_costs_one_rollback(
    alias_of: Callable[..., str], talkative_cluster: Cluster
) -> None:
    alias = alias_of(talkative_cluster)
    transaction.set_autocommit(False, using=alias)
    ask("SELECT 'forgotten'", using=alias)
    log = Log(talkative_cluster)
    close_old_connections()
    assert log.statements() == ["ROLLBACK"]


def test_a_check_is_one_round_trip_without_a_statement(
    alias_of: Callable[..., str], talkative_cluster: Cluster
) -> None:
    alias = alias_of(talkative_cluster, OPTIONS={"pool": {"check_after": 0}})
    send_requests(alias, 2)
    log = Log(talkative_cluster)
    send_requests(alias, 1)
    assert connections[alias].connection_pool.stats().checks == 2
    assert log.statements() == ["", "SELECT 'asked'"]
