"""``max_size``, as the server counts."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.postgresql import base as stock

from django_connmgr import with_connection

from .conftest import PoolOf
from .server import Sampler, Server
from .threads import ask, in_threads, taken


@pytest.fixture
def slow_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = stock.DatabaseWrapper.get_new_connection

    def get_new_connection(self: Any, params: Any) -> Any:
        time.sleep(0.2)
        return connect(self, params)

    monkeypatch.setattr(stock.DatabaseWrapper, "get_new_connection", get_new_connection)


@contextlib.contextmanager
def repeatedly(function: Any) -> Iterator[None]:
    """Call it again and again while the block runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.1):
            function()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("slow_connects")
def test_a_burst_of_threads_never_exceeds_it(pool_of: PoolOf, server: Server) -> None:
    pool = pool_of(max_size=5, timeout=30)
    barrier = threading.Barrier(50)

    def work() -> None:
        barrier.wait(30)
        ask("SELECT pg_sleep(0.01)")
        connection.close()

    with Sampler(server) as sampler:
        in_threads(50, work)
    assert sampler.samples > 10
    assert sampler.most == pool.stats().opened == 5
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.timeouts) == (5, 5, 0)


@pytest.mark.usefixtures("slow_connects")
def test_killing_and_discarding_never_exceeds_it(pool_of: PoolOf, server: Server) -> None:
    pool = pool_of(max_size=5, timeout=30)
    barrier = threading.Barrier(50)
    errors: list[str] = []

    def work() -> None:
        barrier.wait(30)
        for turn in range(3):
            try:
                with with_connection():
                    ask("SELECT pg_sleep(0.01)")
                    if turn == 1:
                        connection.borrower.note_interruption(KeyboardInterrupt())  # type: ignore[attr-defined]
            except OperationalError as error:
                errors.append(str(error))
            connection.close()

    def kill_one() -> None:
        server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = %s ORDER BY random() LIMIT 1",
            server.database,
        )

    with Sampler(server) as sampler, repeatedly(kill_one):
        in_threads(50, work)
    assert 1 < sampler.most <= 5
    assert pool.stats().opened > 20
    assert taken(pool) == 0
    words = ("terminating connection", "server closed the connection")
    assert all(any(word in error for word in words) for error in errors)
