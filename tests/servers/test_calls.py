"""gRPC servers, on threads and on asyncio: what their methods lease, they give back."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testproject.cluster import Cluster

from ..recording import recording
from .launch import Kind, Reply, WebServer, eventually, require, serving

require("grpc")

import grpc

MAX_SIZE = 4
KINDS = {
    name: Kind(
        f"grpc-{name}",
        ("tests.servers.project.calls", name, "{port}"),
        ("grpc",),
        is_graceful=True,
        environment=tuple(recording().items()),
    )
    for name in ("threads", "asyncio")
}


class CallServer(WebServer):
    """A server that is asked by calls: a path is ``method/request``."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")

    def get(self, path: str) -> Reply:
        method, _, request = path.partition("/")
        try:
            answer = self.channel.unary_unary(f"/tests/{method}")(
                request.encode(), timeout=20, wait_for_ready=True
            )
        except grpc.RpcError as error:
            return Reply(error.code().value[0], error.details())
        return Reply(200, answer.decode())

    def kill(self) -> None:
        self.channel.close()
        super().kill()


@pytest.fixture(
    scope="module",
    params=[("threads", ""), ("asyncio", ""), ("asyncio", "a")],
    ids=["methods on threads", "sync methods on asyncio", "async methods"],
)
def served(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[CallServer, str]]:
    """A server, and what the names of methods of the kind in question begin with."""
    kind, prefix = request.param
    with serving(cluster, KINDS[kind], MAX_SIZE, CallServer) as running:
        yield running, prefix


@pytest.fixture
def server(served: tuple[CallServer, str]) -> CallServer:
    return served[0]


@pytest.fixture
def prefix(served: tuple[CallServer, str]) -> str:
    return served[1]


@pytest.fixture
def until(tmp_path: Path) -> Path:
    """Streams stay open until this file exists."""
    return tmp_path / "over"


def code(error: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return error.value.code()


class Talk:
    """A call with a stream of messages in both directions."""

    def __init__(self, server: CallServer, method: str) -> None:
        self._messages: queue.Queue[bytes | None] = queue.Queue()
        self.call = server.channel.stream_stream(f"/tests/{method}")(
            iter(self._messages.get, None), timeout=40
        )

    def say(self, message: bytes) -> bytes:
        self._messages.put(message)
        return next(self.call)

    def end(self) -> list[bytes]:
        """Say no more; returns what is left of the answers."""
        self._messages.put(None)
        return list(self.call)

    def cancel(self) -> None:
        self.call.cancel()
        self._messages.put(None)


def test_under_load_it_stays_in_its_bounds_and_leaves_nothing(
    server: CallServer, prefix: str
) -> None:
    methods = [f"{prefix}{name}" for name in ("query", "kept", "fail", "abort")] * 6
    replies = server.get_many(*methods)
    expected = {"fail": 2, "abort": grpc.StatusCode.NOT_FOUND.value[0]}  # The first: unknown.
    assert [reply.status for reply in replies] == [
        expected.get(method.removeprefix(prefix), 200) for method in methods
    ]
    stats = server.settled()
    assert (stats["timeouts"], stats["reaped"], stats["connect_failures"]) == (0, 0, 0)
    assert 0 < stats["opened"] <= MAX_SIZE


def test_what_is_not_there_is_told_as_ever(server: CallServer) -> None:
    assert server.get("nothing").status == grpc.StatusCode.UNIMPLEMENTED.value[0]


def test_other_interceptors_are_inside(server: CallServer, prefix: str) -> None:
    if server.kind is not KINDS["threads"]:
        pytest.skip("Only that server has another one.")
    assert server.get("query") == Reply(200, "heap")
    assert set(json.loads(server.get("notes").text)) == {"/tests/query"}


def test_async_methods_query_at_once(server: CallServer, prefix: str) -> None:
    if not prefix:
        pytest.skip("These are sync.")
    assert server.get_many("ameet", "ameet") == [Reply(200, "heap")] * 2
    server.settled()


def test_open_streams_lease_nothing_between_messages(
    server: CallServer, prefix: str, until: Path
) -> None:
    """More than there are connections."""
    before = server.settled()
    listen = server.channel.unary_stream(f"/tests/{prefix}listen")
    streams = [listen(str(until).encode(), timeout=40) for _ in range(MAX_SIZE + 1)]
    assert [next(stream) for stream in streams] == [b"heap"] * len(streams)
    talks = [Talk(server, f"{prefix}chat") for _ in range(MAX_SIZE + 1)]
    for _ in range(2):
        assert [talk.say(b"") for talk in talks] == [b"heap"] * len(talks)
        server.settled()
    assert server.get(f"{prefix}query") == Reply(200, "heap")
    until.touch()
    for stream in streams:
        assert list(stream)[-1] == b"heap"
    assert [talk.end() for talk in talks] == [[]] * len(talks)
    assert server.settled()["timeouts"] == before["timeouts"]


def test_a_method_that_writes_its_messages_by_itself(server: CallServer, prefix: str) -> None:
    if not prefix:
        pytest.skip("These are sync.")
    talk = Talk(server, "awrite")
    assert [talk.say(b"x"), talk.say(b"x")] == [b"heap"] * 2
    server.settled()
    assert talk.end() == []


def test_a_stream_of_requests_leases_nothing_between_them(server: CallServer, prefix: str) -> None:
    before = server.settled()
    messages: queue.Queue[bytes | None] = queue.Queue()
    upload = server.channel.stream_unary(f"/tests/{prefix}upload")
    answer = upload.future(iter(messages.get, None), timeout=20)
    messages.put(b"")
    assert eventually(lambda: server.stats()["checkouts"] > before["checkouts"])
    server.settled()  # It waits for the next one.
    messages.put(b"")
    messages.put(None)
    assert answer.result() == b"heap heap"
    server.settled()


def test_an_error_in_a_stream_leaves_nothing(server: CallServer, prefix: str) -> None:
    talk = Talk(server, f"{prefix}chat")
    assert talk.say(b"") == b"heap"
    with pytest.raises(grpc.RpcError) as error:
        talk.say(b"fail")
    assert code(error) is grpc.StatusCode.UNKNOWN
    talk.cancel()
    server.settled()


def test_calls_that_clients_cancel_lose_nothing(
    server: CallServer, prefix: str, until: Path
) -> None:
    # A sync stream on asyncio keeps its thread for ever when its client is gone: gRPC's own habit.
    has_streams = prefix or server.kind is KINDS["threads"]
    for _ in range(MAX_SIZE):
        if has_streams:
            stream = server.channel.unary_stream(f"/tests/{prefix}listen")(str(until).encode())
            assert next(stream) == b"heap"
            stream.cancel()
            talk = Talk(server, f"{prefix}chat")
            assert talk.say(b"") == b"heap"
            talk.cancel()
        call = server.channel.unary_unary(f"/tests/{prefix}busy").future(b"0.2")
        assert eventually(lambda: server.account.is_running("SELECT pg_sleep"))
        call.cancel()
    until.touch()
    assert server.get_many(*[f"{prefix}query"] * 8) == [Reply(200, "heap")] * 8
    server.settled()


def test_a_deadline_that_passes_in_a_query_loses_nothing(server: CallServer, prefix: str) -> None:
    busy = server.channel.unary_unary(f"/tests/{prefix}busy")
    for call in [busy.future(b"1", timeout=0.3) for _ in range(2 * MAX_SIZE)]:
        with pytest.raises(grpc.RpcError) as error:
            call.result()
        assert code(error) is grpc.StatusCode.DEADLINE_EXCEEDED
    server.settled()
    assert server.get(f"{prefix}query") == Reply(200, "heap")


def test_it_takes_leave_of_the_database_when_it_is_stopped(server: CallServer, prefix: str) -> None:
    call = server.channel.unary_unary(f"/tests/{prefix}busy").future(b"1")
    assert eventually(lambda: server.account.is_running("SELECT pg_sleep"))
    server.stop()
    assert call.result() == b"heap"
