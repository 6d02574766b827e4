"""Consumers of Django Channels under real servers: nothing is leased between two messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from testproject.cluster import Cluster

from .launch import Kind, Reply, WebServer, require, serving

require("channels", "websockets")

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

APPLICATION = "tests.servers.project.consumers:application"
MAX_SIZE = 4
KINDS = (
    Kind("channels-daphne", ("daphne", "-p", "{port}", APPLICATION), ("daphne",), is_async=True),
    Kind(
        "channels-uvicorn",
        ("uvicorn", APPLICATION, "--port", "{port}", "--lifespan", "off"),
        ("uvicorn",),
        is_async=True,
        runs_exit_hooks=False,
    ),
)
MESSAGES = {
    "sync": ("ask", "in_transaction", "kept"),
    "async": ("ask", "in_transaction", "kept", "async", "threads"),
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def server(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    # What a consumer raises is written down by the server.
    told = {"apps": ["channels"], "trouble": "as it should"}
    with serving(cluster, request.param, MAX_SIZE, **told) as running:
        yield running


def socket(server: WebServer, consumer: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/{consumer}", proxy=None)


@pytest.mark.parametrize(
    ("consumer", "message"), [(name, one) for name, several in MESSAGES.items() for one in several]
)
def test_open_sockets_lease_nothing_between_messages(
    server: WebServer, consumer: str, message: str
) -> None:
    """Twice as many as there are connections."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket(server, consumer)) for _ in range(2 * MAX_SIZE)]
        for _ in range(2):
            for client in clients:
                client.send(message)
            assert [client.recv(20) for client in clients] == ["heap"] * len(clients)
            server.settled()
        assert server.get("query/") == Reply(200, "heap")
    stats = server.settled()
    assert (stats["timeouts"], stats["reaped"], stats["connect_failures"]) == (0, 0, 0)
    assert stats["opened"] <= MAX_SIZE


@pytest.mark.parametrize("consumer", MESSAGES)
def test_a_message_is_a_unit_named_for_its_consumer(server: WebServer, consumer: str) -> None:
    with socket(server, consumer) as client:
        client.send("unit")
        assert client.recv(20) == f"{consumer.capitalize()}: websocket.receive"


@pytest.mark.parametrize("consumer", MESSAGES)
def test_a_consumer_that_fails_leaves_nothing(server: WebServer, consumer: str) -> None:
    with socket(server, consumer) as client:
        client.send("fail")
        with pytest.raises(ConnectionClosedError):
            client.recv(20)
    server.settled()


@pytest.mark.parametrize("consumer", MESSAGES)
def test_clients_that_leave_before_an_answer_lose_nothing(server: WebServer, consumer: str) -> None:
    for message in MESSAGES[consumer] * 2:
        with socket(server, consumer) as client:
            client.send(message)
    server.settled()
