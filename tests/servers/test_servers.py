"""Every server: under load, with clients that hang up, with open streams, through its shutdown."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testproject.cluster import Cluster

from .launch import ASYNC, SYNC, WebServer, eventually, serving

MAX_SIZE = 4
PATHS = ["query/", "aquery/", "atomic/", "missing/", "fail/", "work/?seconds=0.05", "file/"]


@pytest.fixture(scope="module", params=[*SYNC, *ASYNC], ids=lambda kind: kind.name)
def server(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    """One for all tests of a kind: the last one stops and examines it."""
    with serving(cluster, request.param, MAX_SIZE) as running:
        yield running


def signal_of(server: WebServer) -> Path:
    """Streams stay open until this file exists, where every server may look.

    A new one at each call, which stays: a slow server looks for it after its test is over.
    """
    return Path(server.directory.name) / f"over-{secrets.token_hex(4)}"


def streams(server: WebServer) -> list[str]:
    return ["astream/", "sse/"] if server.kind.is_async else ["stream/"]


def test_under_load_it_stays_in_its_bounds_and_leaves_nothing(server: WebServer) -> None:
    paths = [path for path in PATHS if server.kind.has_async_views or path != "aquery/"] * 6
    replies = server.get_many(*paths)
    assert [reply.status for reply in replies] == [
        404 if path in ("missing/", "fail/") else 200 for path in paths
    ]
    stats = server.settled()
    assert (stats["timeouts"], stats["reaped"], stats["connect_failures"]) == (0, 0, 0)
    assert 0 < stats["opened"] <= MAX_SIZE * server.kind.workers


def test_32_pages_not_found_whose_handler_queries_lose_nothing(server: WebServer) -> None:
    replies = server.get_many(*["missing/"] * 32)
    assert {(reply.status, reply.text) for reply in replies} == {(404, "heap")}
    assert server.get("query/").status == 200
    server.settled()


def test_24_queries_on_threads_of_one_request_lose_nothing(server: WebServer) -> None:
    if not server.kind.has_async_views:
        pytest.skip("asyncio does not work on this server")
    reply = server.get("threads/")
    assert (reply.status, reply.text) == (200, "24")
    server.settled()


def test_open_streams_keep_no_request_waiting(server: WebServer) -> None:
    before = server.settled()
    for path in streams(server):
        until = signal_of(server)
        with contextlib.ExitStack() as stack:
            opened = [
                stack.enter_context(server.opened(f"{path}?until={until}")) for _ in range(MAX_SIZE)
            ]
            assert all(b"heap" in stream.readline() for stream in opened)
            replies = server.get_many(*["query/"] * MAX_SIZE)
            assert [reply.status for reply in replies] == [200] * MAX_SIZE
            until.touch()
            assert all(b"heap" in stream.read() for stream in opened)
    assert server.settled()["timeouts"] == before["timeouts"]


def test_clients_that_hang_up_in_a_stream_lose_nothing(server: WebServer) -> None:
    until = signal_of(server)
    for path in streams(server) * MAX_SIZE:
        with server.opened(f"{path}?until={until}") as stream:
            assert b"heap" in stream.readline()
    until.touch()
    server.settled()
    assert server.get("query/").status == 200


def test_clients_that_hang_up_in_a_request_lose_nothing(server: WebServer) -> None:
    for path in ("busy/?seconds=0.1", "work/?seconds=0.1", "threads/", "missing/"):
        if path != "threads/" or server.kind.has_async_views:
            for _ in range(MAX_SIZE):
                server.send_and_leave(path)
    # Behind them in every queue of the server's: when these are served, those were begun.
    replies = server.get_many(*["query/"] * 16)
    assert [reply.status for reply in replies] == [200] * 16
    server.settled()


def test_it_takes_leave_of_the_database_when_it_is_stopped(server: WebServer) -> None:
    if not server.kind.is_graceful:
        server.stop()
        return
    with ThreadPoolExecutor(1) as executor:
        reply = executor.submit(server.get, "busy/?seconds=1")
        assert eventually(lambda: server.account.is_running("SELECT pg_sleep"))
        server.stop()
    assert reply.result().status == 200
