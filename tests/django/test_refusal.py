"""A server that says no is quoted, at once; a full one is waited for if that can help."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections

from django_connmgr import with_connection
from testproject.cluster import Cluster, running_cluster

from .server import await_that, observe
from .threads import ask, in_a_thread, in_threads


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PASSWORD": "wr0ng"}, 'password authentication failed for user "connmgr"'),
        ({"NAME": "nowhere"}, 'database "nowhere" does not exist'),
        ({"PORT": "1"}, "Connection refused"),
        ({"HOST": "no-such-host.invalid"}, "no-such-host.invalid|Name or service not known"),
    ],
    ids=["password", "database", "port", "host"],
)
def test_the_servers_own_words_are_raised_at_once(
    alias_of: Callable[..., str], cluster: Cluster, changes: dict[str, Any], words: str
) -> None:
    alias = alias_of(cluster, **changes)
    with pytest.raises(OperationalError) as caught:
        ask(using=alias)
    assert type(caught.value) is OperationalError
    assert re.search(words, str(caught.value))
    assert cluster.password not in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    stats = connections[alias].connection_pool.stats()
    assert (stats.size, stats.connect_failures, stats.waits, stats.timeouts) == (0, 1, 0, 0)


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[Cluster]:
    """A server with room for three connections."""
    settings = {"max_connections": "3", "superuser_reserved_connections": "0"}
    with running_cluster(settings=settings) as running:
        yield running


def occupy(cluster: Cluster, places: int) -> list[Any]:
    """Connections that no pool knows of, once those of before have ended."""
    taken: list[Any] = []

    def take() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            taken.append(observe(cluster))
        return len(taken) == places

    await_that(take, "the server has room")
    return taken


def test_a_full_server_is_waited_for_while_the_pool_has_a_connection(
    alias_of: Callable[..., str], small_cluster: Cluster
) -> None:
    alias = alias_of(small_cluster, OPTIONS={"pool": {"max_size": 4, "reclaim": False}})
    mine = ask(using=alias)
    pool = connections[alias].connection_pool
    others = occupy(small_cluster, 2)
    try:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(ask(using=alias)))
        thread.start()
        while not pool.stats().waiting:
            assert thread.is_alive()
        connections[alias].close()
        thread.join()
        assert seen == [mine]
        assert pool.stats().opened == 1
    finally:
        for other in others:
            other.close()


def test_a_full_server_is_quoted_if_the_pool_has_nothing_to_wait_for(
    alias_of: Callable[..., str], small_cluster: Cluster
) -> None:
    alias = alias_of(small_cluster)
    others = occupy(small_cluster, 3)
    try:
        with pytest.raises(OperationalError, match="sorry, too many clients already"):
            in_a_thread(lambda: ask(using=alias))
    finally:
        for other in others:
            other.close()
    stats = connections[alias].connection_pool.stats()
    assert (stats.size, stats.connect_failures, stats.waits) == (0, 1, 0)


@pytest.fixture
def limited_role(cluster: Cluster) -> Iterator[str]:
    """A role that the server lets in twice and no more often."""
    cluster.psql(f"CREATE ROLE twice LOGIN CONNECTION LIMIT 2 PASSWORD '{cluster.password}'")
    yield "twice"
    cluster.psql("DROP ROLE twice")


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_more_threads_than_the_role_may_connect_are_all_served(
    alias_of: Callable[..., str], cluster: Cluster, limited_role: str, release: str
) -> None:
    """They connect at once to an empty pool, and most are refused: they wait for the others."""
    pool = {"max_size": 6, "timeout": 20, "release": release}
    alias = alias_of(cluster, USER=limited_role, OPTIONS={"pool": pool})
    everybody = threading.Barrier(6)

    def work() -> int:
        everybody.wait(30)
        with with_connection(alias):
            return int(ask("SELECT pg_backend_pid() FROM pg_sleep(0.05)", using=alias))

    assert len(set(in_threads(6, work))) <= 2
    stats = connections[alias].connection_pool.stats()
    assert (stats.timeouts, stats.leased, stats.size) == (0, 0, stats.idle)
    assert 1 <= stats.opened <= 2
    connections[alias].close_pool()
    await_that(lambda: not cluster.psql("SELECT 1 FROM pg_stat_activity WHERE usename = 'twice'"))
