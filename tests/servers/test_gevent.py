"""gunicorn's gevent worker, which patches everything before it loads the application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testproject.cluster import Cluster

from .launch import GEVENT, Reply, WebServer, eventually, serving


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[WebServer]:
    with serving(cluster, GEVENT, 4) as running:
        yield running


def test_greenlets_own_their_connections(server: WebServer) -> None:
    assert server.get("owners/") == Reply(200, "3")
    server.settled()


def test_waiting_for_a_connection_lets_other_greenlets_run(server: WebServer) -> None:
    """All at once on four connections, in one thread: it would stand still otherwise."""
    before = server.settled()
    replies = server.get_many(*["busy/?seconds=0.2"] * 8)
    assert replies == [Reply(200, "heap")] * 8
    after = server.settled()
    assert after["waits"] > before["waits"]
    assert after["timeouts"] == before["timeouts"]


def test_a_connection_of_a_killed_greenlet_is_closed_and_its_query_cancelled(
    server: WebServer,
) -> None:
    assert server.get("killed/") == Reply(200, "heap")
    assert eventually(lambda: not server.account.is_running("SELECT pg_sleep"))
    server.settled()


def test_connections_of_greenlets_that_ended_come_back(server: WebServer) -> None:
    before = server.settled()
    assert server.get("forgotten/") == Reply(200, "heap")
    after = server.settled()
    assert after["reaped"] - before["reaped"] == 8
