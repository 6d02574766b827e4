"""A server that says no is quoted, at once; a full one is waited for if that can help."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections

from testproject.cluster import Cluster, running_cluster

from .server import observe
from .threads import ask, in_a_thread


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


def test_a_full_server_is_waited_for_while_the_pool_has_a_connection(
    alias_of: Callable[..., str], small_cluster: Cluster
) -> None:
    alias = alias_of(small_cluster, OPTIONS={"pool": {"max_size": 4, "reclaim": False}})
    mine = ask(using=alias)
    pool = connections[alias].connection_pool
    others = [observe(small_cluster) for _ in range(2)]
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
    others = [observe(small_cluster) for _ in range(3)]
    try:
        with pytest.raises(OperationalError, match="sorry, too many clients already"):
            in_a_thread(lambda: ask(using=alias))
    finally:
        for other in others:
            other.close()
    stats = connections[alias].connection_pool.stats()
    assert (stats.size, stats.connect_failures, stats.waits) == (0, 1, 0)
