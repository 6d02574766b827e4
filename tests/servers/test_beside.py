"""FastAPI, mounted beside Django under real servers: requests, streams, websockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testproject.cluster import Cluster

from .launch import Kind, Reply, WebServer, eventually, require, serving

require("fastapi", "websockets")

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

APPLICATION = "tests.servers.project.beside:application"
MAX_SIZE = 4
KINDS = (
    Kind(
        "beside-uvicorn",
        ("uvicorn", APPLICATION, "--port", "{port}", "--timeout-graceful-shutdown", "5"),
        ("uvicorn",),
        is_async=True,
        runs_exit_hooks=False,
        is_graceful=True,
    ),
    # It cancels what it serves when a client hangs up.
    Kind(
        "beside-hypercorn",
        ("hypercorn", "--bind", "127.0.0.1:{port}", APPLICATION),
        ("hypercorn",),
        is_async=True,
    ),
)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def server(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with serving(cluster, request.param, MAX_SIZE) as running:
        yield running


@pytest.fixture
def until(tmp_path: Path) -> Path:
    """Streams stay open, and work in the background goes on, until this file exists."""
    return tmp_path / "over"


def socket(server: WebServer) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/api/socket", proxy=None)


def test_under_load_it_stays_in_its_bounds_and_leaves_nothing(server: WebServer) -> None:
    paths = ["api/query", "api/aquery", "api/fail", "api/busy", "query/", "aquery/"] * 6
    replies = server.get_many(*paths)
    assert [reply.status for reply in replies] == [
        404 if path == "api/fail" else 200 for path in paths
    ]
    stats = server.settled()
    assert (stats["timeouts"], stats["reaped"], stats["connect_failures"]) == (0, 0, 0)
    assert 0 < stats["opened"] <= MAX_SIZE


def test_async_endpoints_query_at_once(server: WebServer) -> None:
    """As Django's async views, each on a thread of its own."""
    assert server.get_many("api/meet", "api/meet") == [Reply(200, "heap")] * 2
    server.settled()


def test_24_queries_on_threads_of_one_request_lose_nothing(server: WebServer) -> None:
    assert server.get("api/threads") == Reply(200, "24")
    server.settled()


def test_streams_and_work_in_the_background_keep_no_request_waiting(
    server: WebServer, until: Path
) -> None:
    before = server.settled()
    paths = [f"api/{name}?until={until}" for name in ("stream", "astream", "background")]
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(server.opened(path)) for path in paths * 2]
        assert all(b"heap" in response.readline() for response in opened)
        assert server.settled()["timeouts"] == before["timeouts"]
        assert server.get_many("api/query", "query/") == [Reply(200, "heap")] * 2
        until.touch()
        assert all(b"heap" in response.read() for response in opened[:2])
    assert server.settled()["timeouts"] == before["timeouts"]


def test_clients_that_hang_up_lose_nothing(server: WebServer, until: Path) -> None:
    for name in ("stream", "astream") * MAX_SIZE:
        with server.opened(f"api/{name}?until={until}") as response:
            assert b"heap" in response.readline()
    for name in ("query", "aquery", "busy", "threads") * MAX_SIZE:
        server.send_and_leave(f"api/{name}")
    until.touch()
    assert server.get_many(*["api/query"] * 8) == [Reply(200, "heap")] * 8
    server.settled()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_query_of_a_client_that_has_gone_is_cancelled(cluster: Cluster, kind: Kind) -> None:
    settings = {"CANCEL_ON_DISCONNECT": True}
    kind = replace(kind, runs_exit_hooks=False)  # What is taken away says no goodbye.
    with serving(cluster, kind, MAX_SIZE, connmgr=settings) as server:

        def is_running() -> bool:
            return server.account.is_running("SELECT pg_sleep")

        for path in ("api/sleep", "busy/") * MAX_SIZE:  # The second one is Django's.
            server.send_and_leave(f"{path}?seconds=60", is_running)
            assert eventually(lambda: not is_running())
        assert server.get("api/sleep?seconds=0.1") == Reply(200, "heap")
        assert server.get_many(*["api/query"] * 8) == [Reply(200, "heap")] * 8
        server.settled()


def test_open_websockets_lease_nothing_between_messages(server: WebServer) -> None:
    """Twice as many as there are connections, also those whose client or handler went away."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket(server)) for _ in range(2 * MAX_SIZE)]
        for message in ("sensitive", "any thread"):
            for client in clients:
                client.send(message)
            assert [client.recv(20) for client in clients] == ["heap"] * len(clients)
            server.settled()
        clients[0].send("fail")
        with pytest.raises(ConnectionClosedError):
            clients[0].recv(20)
        for client in clients[1:]:
            client.send("sensitive")  # And leave.
    stats = server.settled()
    assert stats["opened"] <= MAX_SIZE


def test_a_stopped_server_leaves_nothing(server: WebServer) -> None:
    """Also with a websocket open, for which hypercorn would wait without an end."""
    with socket(server) as client:
        client.send("sensitive")
        assert client.recv(20) == "heap"
        if server.kind.is_graceful:
            server.stop()
    server.stop()
    assert eventually(lambda: server.account.count() == 0)
