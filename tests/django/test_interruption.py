"""Exceptions out of signal handlers, in the middle of a query or of waiting for a connection."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import ProgrammingError, connection, connections, transaction

from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .server import Server, await_that
from .threads import ask, in_a_thread, taken


@contextlib.contextmanager
def signalled_when(condition: Callable[[], object], error: type[BaseException]) -> Iterator[None]:
    """Raise ``error`` in the block, on the main thread, as soon as the condition holds."""

    def raise_it(*_: Any) -> None:
        raise error

    def shoot() -> None:
        await_that(condition)
        os.kill(os.getpid(), signal.SIGALRM)

    previous = signal.signal(signal.SIGALRM, raise_it)
    thread = threading.Thread(target=shoot)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, previous)


def is_asleep(server: Server) -> Callable[[], bool]:
    return lambda: server.is_running("pg_sleep")


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_the_next_query_runs_on_another_backend(
    pool: Pool, server: Server, error: type[BaseException]
) -> None:
    interrupted = ask()
    with pytest.raises(error), signalled_when(is_asleep(server), error):
        ask("SELECT pg_sleep(30)")
    assert repr(pool) == (
        "<ConnectionPool 'default' open: size=0/4 connecting=0 idle=0 leased=0 "
        "maintenance=0 waiting=0>"
    )
    assert interrupted not in server.backends()
    assert ask() != interrupted
    assert dict(pool.stats().closed) == {"discarded": 1}


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_a_transaction_is_lost_as_a_whole(
    pool: Pool, server: Server, error: type[BaseException]
) -> None:
    with (
        pytest.raises(error),
        signalled_when(is_asleep(server), error),
        transaction.atomic(),
    ):
        Customer.objects.create(name="half")
        transaction.on_commit(lambda: pytest.fail("it was never committed"))
        interrupted = ask()
        ask("SELECT pg_sleep(30)")
    assert interrupted not in server.backends()
    assert not Customer.objects.exists()
    assert not connection.in_atomic_block
    assert connection.get_autocommit()
    with transaction.atomic():
        Customer.objects.create(name="whole")
    assert Customer.objects.count() == 1


def test_a_transaction_whose_interruption_is_swallowed_goes_nowhere(
    pool: Pool, server: Server
) -> None:
    with pytest.raises(ProgrammingError, match="atomic block"), transaction.atomic():
        Customer.objects.create(name="half")
        with contextlib.suppress(TimeoutError), signalled_when(is_asleep(server), TimeoutError):
            ask("SELECT pg_sleep(30)")
        Customer.objects.create(name="other half")
    assert not Customer.objects.exists()


def test_an_interrupted_wait_loses_nothing(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, reclaim=False)
    mine = ask()
    release = threading.Event()

    def hold() -> int:
        backend: int = ask()
        release.wait(30)
        connection.close()
        return backend

    connection.close()
    seen: list[int] = []
    holder = threading.Thread(target=lambda: seen.append(hold()))
    holder.start()
    await_that(lambda: taken(pool) == 1)
    with (
        pytest.raises(KeyboardInterrupt),
        signalled_when(lambda: pool.stats().waiting, KeyboardInterrupt),
    ):
        ask()
    assert pool.stats().waiting == 0
    release.set()
    holder.join()
    assert [mine, *seen] == [mine, mine]
    assert repr(pool) == (
        "<ConnectionPool 'default' open: size=1/1 connecting=0 idle=1 leased=0 "
        "maintenance=0 waiting=0>"
    )
    assert in_a_thread(ask) == mine


def test_an_interrupted_connect_loses_nothing(
    pool_of: PoolOf, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(max_size=1)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The last thing that connecting does: there is a connection by then.
        patch.setattr(type(connections["default"]), "init_connection_state", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert pool.stats().size == server.count() == 0
    assert ask("SELECT 1") == 1


def test_an_error_in_between_two_queries_costs_no_connection(pool: Pool) -> None:
    backend = ask()
    with pytest.raises(KeyError), transaction.atomic():
        raise KeyError
    assert ask() == backend
    assert pool.stats().opened == 1
