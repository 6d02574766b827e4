"""Asynchronous requests, Django's and others, whose clients hang up while a query runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

from django_connmgr.integrations.asgi import ASGIUnitOfWorkMiddleware
from testproject.shop.models import Customer

from .conftest import Pool
from .server import Server, await_that
from .threads import ask
from .urls import OUTCOMES, write_and_sleep
from .visit import Visit

pytestmark = [
    pytest.mark.usefixtures("no_loop_left"),
    pytest.mark.urls("tests.django.urls"),
]


@contextmanager
def cancelling(is_on: bool) -> Iterator[None]:
    OUTCOMES.clear()
    with override_settings(CONNMGR={"CANCEL_ON_DISCONNECT": is_on}):
        yield


def hang_up_in_a_query(server: Server, path: str) -> None:
    async def visit() -> None:
        visit = Visit(ASGIHandler(), path)
        await asyncio.to_thread(await_that, lambda: server.is_running("pg_sleep"))
        await visit.hang_up()

    async_to_sync(visit)()


@pytest.mark.parametrize("path", ["/sleep/", "/sleep-async/"])
def test_the_query_is_cancelled_and_the_transaction_rolled_back(
    pool: Pool, server: Server, path: str
) -> None:
    with cancelling(True):
        hang_up_in_a_query(server, f"{path}?seconds=20")
        await_that(lambda: len(OUTCOMES) == 1)
    assert "was cancelled, and nothing waits for its result" in OUTCOMES[0]
    assert f"GET {path}" in OUTCOMES[0]
    await_that(lambda: not server.is_running("pg_sleep"))
    await_that(lambda: pool.stats().closed == {"cancelled": 1})
    assert pool.stats().leased == 0
    assert not Customer.objects.exists()
    assert ask("SELECT 1") == 1


def test_it_goes_on_if_that_is_not_asked_for(pool: Pool, server: Server) -> None:
    with cancelling(False):
        hang_up_in_a_query(server, "/sleep/?seconds=0.5")
        await_that(lambda: len(OUTCOMES) == 1)
    assert OUTCOMES == ["done"]
    assert Customer.objects.filter(name="sleeper").exists()
    await_that(lambda: pool.stats().leased == 0)


def test_what_runs_no_query_then_is_left_to_its_end(pool: Pool) -> None:
    """Nothing is lost in silence: it commits, or it gets an error."""

    async def visit() -> None:
        visit = Visit(ASGIHandler(), "/hesitate/")
        await asyncio.to_thread(await_that, lambda: OUTCOMES == ["hesitates"])
        leaving = asyncio.create_task(visit.hang_up())
        await asyncio.sleep(0.1)  # The view's coroutine is cancelled by then.
        OUTCOMES.append("gone")
        await leaving

    with cancelling(True):
        async_to_sync(visit)()
        await_that(lambda: len(OUTCOMES) == 3)
    assert OUTCOMES[2] == "done"
    assert Customer.objects.filter(name="hesitant").exists()
    await_that(lambda: pool.stats().leased == 0)


# Applications that are not Django's.

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"done"}


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """It never asks what its client sends, as endpoints without a body do not."""
    await sync_to_async(write_and_sleep)(20)
    await send(START)
    await send(BODY)


def serve(server: Server, application: Any, leave: Any) -> None:
    async def visit() -> None:
        visit = Visit(ASGIUnitOfWorkMiddleware(application), "/beside/")
        await asyncio.to_thread(await_that, lambda: server.is_running("pg_sleep"))
        await leave(visit)

    async_to_sync(visit)()


@pytest.mark.parametrize("leave", [Visit.hang_up, Visit.be_cancelled])
def test_beside_django_it_is_cancelled_too(pool: Pool, server: Server, leave: Any) -> None:
    with cancelling(True):
        serve(server, deaf, leave)
        await_that(lambda: len(OUTCOMES) == 1)
    assert "'GET /beside/' was cancelled, and nothing waits for its result" in OUTCOMES[0]
    await_that(lambda: pool.stats().closed == {"cancelled": 1})
    assert pool.stats().leased == 0
    assert not Customer.objects.exists()


def test_an_application_may_stop_listening_and_it_is_cancelled_nevertheless(
    pool: Pool, server: Server
) -> None:
    """As Starlette does, which listens only in a stream."""

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        await sync_to_async(write_and_sleep)(20)

    with cancelling(True):
        serve(server, impatient, Visit.hang_up)
    assert "was cancelled" in OUTCOMES[0]
    assert pool.stats().leased == 0


def test_beside_django_it_goes_on_if_that_is_not_asked_for(pool: Pool, server: Server) -> None:
    async def short(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(write_and_sleep)(0.5)

    with cancelling(False):
        serve(server, short, Visit.hang_up)
    assert OUTCOMES == ["done"]
    assert pool.stats().leased == 0


def test_work_in_the_background_goes_on_when_the_client_has_its_response(
    pool: Pool, server: Server
) -> None:
    async def in_the_background(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        await sync_to_async(write_and_sleep)(0.5)

    with cancelling(True):
        serve(server, in_the_background, Visit.hang_up)
    assert OUTCOMES == ["done"]
    assert pool.stats().leased == 0


class Line:
    """What a server hands over, and how often it was asked."""

    def __init__(self, *messages: Any) -> None:
        self._messages = [*messages]
        self.asked = 0

    async def receive(self) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if len(self._messages) > 1:
            return self._messages.pop(0)
        if isinstance(self._messages[0], Exception):
            raise self._messages[0]
        return self._messages[0]


def served(application: Any, line: Line) -> None:
    scope = {"type": "http", "method": "POST", "path": "/beside/"}

    async def send(message: Any) -> None: ...

    with cancelling(True):
        async_to_sync(ASGIUnitOfWorkMiddleware(application))(scope, line.receive, send)


def piece(number: int, *, is_last: bool = False) -> Any:
    return {"type": "http.request", "body": b"%d" % number, "more_body": not is_last}


def test_the_application_gets_every_message_in_its_order() -> None:
    gone = {"type": "http.disconnect"}
    messages = [piece(1), piece(2), piece(3, is_last=True), gone]
    got = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.extend([await receive() for _ in range(6)])

    line = Line(*messages)
    served(application, line)
    assert got == [*messages, gone, gone]
    assert line.asked == len(messages)


def test_of_a_long_body_one_message_is_received_before_it_is_asked_for() -> None:
    line = Line(*map(piece, range(10)))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for asked in range(1, 4):
            for _ in range(20):  # More turns of the loop than all other tasks need.
                await asyncio.sleep(0)
            assert line.asked == asked
            assert await receive() == piece(asked - 1)

    served(application, line)


def test_an_error_of_the_line_is_the_application_s() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == piece(1)
        for _ in range(2):
            with pytest.raises(ConnectionError, match="broken"):
                await receive()

    served(application, Line(piece(1), ConnectionError("broken")))
