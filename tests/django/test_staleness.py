"""Connections that died while they lay idle, and servers that come and go."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier

import pytest
from django.db import OperationalError, connection, connections

from django_connmgr import lease_connection, with_connection
from testproject.cluster import Cluster

from .conftest import PoolOf
from .server import Server
from .threads import ask, in_threads


def fill(count: int) -> None:
    """Open that many connections, and leave them idle."""
    barrier = Barrier(count)

    def work() -> None:
        with with_connection():
            ask()
            barrier.wait(30)

    in_threads(count, work)


def test_an_outage_costs_one_check_and_no_request(pool_of: PoolOf, server: Server) -> None:
    pool = pool_of(max_size=8)
    fill(8)
    dead = server.backends()
    assert len(dead) == 8
    server.kill()
    for _ in range(8):
        assert ask() not in dead
        connection.close()
    stats = pool.stats()
    assert (stats.checks, stats.generation, dict(stats.closed)) == (
        1,
        2,
        {"check_failed": 1, "recycled": 7},
    )
    assert (stats.size, stats.idle, server.count()) == (1, 1, 1)


def test_an_outage_costs_no_request_when_all_come_at_once(pool_of: PoolOf, server: Server) -> None:
    pool_of(max_size=8)
    fill(8)
    dead = server.backends()
    server.kill()
    assert dead.isdisjoint(in_threads(8, ask))
    assert server.count() <= 8


def test_a_connection_that_lay_idle_is_asked_first(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, check_after=0)
    for _ in range(3):
        ask()
        connection.close()
    assert pool.stats().checks == 2
    assert pool.stats().opened == 1


def test_a_server_that_was_away_is_used_again(
    alias_of: Callable[..., str], own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    alias = alias_of(own_cluster)
    before = ask(using=alias)
    connections[alias].close()
    own_cluster.stop()
    for _ in range(2):
        with pytest.raises(OperationalError, match="Connection refused"):
            ask(using=alias)
    own_cluster.start()
    assert ask(using=alias) != before
    (record,) = caplog.records
    assert "a connection was found dead" in record.getMessage()
    assert connections[alias].connection_pool.stats().checks == 1


def test_a_server_that_went_away_under_a_lease_costs_that_query_only(
    alias_of: Callable[..., str], own_cluster: Cluster
) -> None:
    alias = alias_of(own_cluster)
    lease_connection(alias)
    own_cluster.stop("immediate")
    own_cluster.start()
    with pytest.raises(OperationalError):
        ask(using=alias)
    connections[alias].close_if_unusable_or_obsolete()
    assert ask("SELECT 1", using=alias) == 1


def test_a_server_that_went_away_between_two_queries_costs_none(
    alias_of: Callable[..., str], own_cluster: Cluster
) -> None:
    alias = alias_of(own_cluster)
    before = ask(using=alias)
    assert connections[alias].connection_pool.stats().warm == 1
    own_cluster.stop("immediate")
    own_cluster.start()
    assert ask(using=alias) != before
    assert connections[alias].connection_pool.stats().checks == 1


def test_killed_idle_connections_are_replaced_before_any_query(
    pool_of: PoolOf, server: Server
) -> None:
    """Where a ``min_size`` says that there are to be some: the background thread sees to it."""
    pool = pool_of(max_size=4, min_size=3)
    ask()
    connection.close()
    pool.maintain()
    dead = server.backends()
    assert (len(dead), pool.stats().idle) == (3, 3)
    checkouts = pool.stats().checkouts
    server.kill()
    pool.maintain()
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.checkouts) == (3, 3, checkouts)
    assert (sum(stats.closed.values()), stats.opened) == (3, 6)
    living = server.backends()
    assert (len(living), living & dead) == (3, set())
    assert ask() in living
    assert pool.stats().opened == 6
