"""ASGI applications that are not Django's: what a request or a websocket leases, and until when."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import transaction
from django.test import override_settings

from django_connmgr import lease_connection
from django_connmgr.integrations.asgi import ASGIUnitOfWorkMiddleware
from django_connmgr.units.current import find_unit

from .conftest import Pool
from .threads import ask, taken

aask = sync_to_async(ask)
#: At each message that a client got: how much is leased.
Seen = list[tuple[str, int]]


@pytest.fixture(autouse=True)
def no_loop_left() -> Iterator[None]:
    """The thread of a loop ends with its executor, which tracebacks keep in a cycle."""
    yield
    gc.collect()


def call(application: Any, pool: Pool, kind: str = "http", path: str = "/page") -> Seen:
    """Serve one connection, and look at the pool whenever the application sends something."""
    seen: Seen = []
    scope = {
        "type": kind, "method": "GET", "path": path, "query_string": b"secret=1", "headers": [],
        "http_version": "1.1",
    }  # fmt: skip
    if kind == "lifespan":
        scope = {"type": "lifespan"}

    async def receive() -> dict[str, Any]:
        if scope.setdefault("asked", False):
            await asyncio.Event().wait()  # The client stays.
        scope["asked"] = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        seen.append((message["type"].rpartition(".")[2], taken(pool)))

    async_to_sync(ASGIUnitOfWorkMiddleware(application))(scope, receive, send)
    return seen


async def respond(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def name_of_unit() -> str | None:
    unit = find_unit()
    return unit and unit.name


def test_what_an_endpoint_leased_is_back_when_the_response_starts(pool: Pool) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await aask()
        await asyncio.to_thread(ask)  # As Starlette calls an endpoint that is a plain function.
        assert taken(pool) == 2
        await respond(send)

    assert call(application, pool) == [("start", 0), ("body", 0)]
    assert pool.stats().checkouts == 2


def test_a_stream_and_the_background_lease_for_each_query(pool: Pool) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await aask()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await aask()
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await asyncio.to_thread(ask)
        await aask()
        await send({"type": "in the background"})

    seen = call(application, pool)
    assert seen == [("start", 0), *[("body", 0)] * 3, ("in the background", 0)]


def test_what_is_in_use_when_the_response_starts_goes_when_its_use_ends(pool: Pool) -> None:
    leased, leave = threading.Event(), threading.Event()

    def in_transaction() -> None:
        with transaction.atomic():
            ask()
            leased.set()
            leave.wait(30)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        working = asyncio.create_task(asyncio.to_thread(in_transaction))
        await asyncio.to_thread(leased.wait, 30)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leave.set()
        await working
        await send({"type": "http.response.body", "body": b""})

    assert call(application, pool) == [("start", 1), ("body", 0)]


def test_a_request_gives_back_at_its_end_what_it_leased_for_all_of_it(pool: Pool) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        await sync_to_async(lease_connection)()
        assert taken(pool) == 1

    call(application, pool)
    assert taken(pool) == 0


def test_an_error_comes_through_and_nothing_stays(pool: Pool) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await aask()
        raise KeyError("as it should")

    with pytest.raises(KeyError, match="as it should"):
        call(application, pool)
    assert taken(pool) == 0


def test_a_cancelled_request_leaves_nothing(pool: Pool) -> None:
    async def main() -> None:
        has_leased = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await aask()
            assert taken(pool) == 1
            has_leased.set()
            await asyncio.Event().wait()

        served = ASGIUnitOfWorkMiddleware(application)
        scope = {"type": "http", "method": "GET", "path": "/"}
        task = asyncio.create_task(served(scope, respond, respond))
        await has_leased.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert taken(pool) == 0

    async_to_sync(main)()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("http", "GET /page"), ("websocket", "websocket /page"), ("lifespan", "lifespan")],
)
def test_a_unit_is_named_for_its_request_without_the_query(
    pool: Pool, kind: str, name: str
) -> None:
    names = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        names.extend([name_of_unit(), await asyncio.to_thread(name_of_unit)])

    call(application, pool, kind)
    assert names == [name, name]
    assert find_unit() is None


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_what_is_open_for_long_leases_for_each_query(pool: Pool, kind: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for query in (aask, sync_to_async(ask, thread_sensitive=False)):
            await query()
            await send({"type": "queried"})
        await sync_to_async(lease_connection)()
        await send({"type": "leased"})

    assert call(application, pool, kind) == [("queried", 0), ("queried", 0), ("leased", 1)]
    assert taken(pool) == 0


def test_two_requests_query_on_threads_of_their_own(pool: Pool) -> None:
    """Django's own handler gives each one. With one thread for both they could not meet."""
    meeting = threading.Barrier(2, timeout=20)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(meeting.wait)()

    async def main() -> None:
        served = ASGIUnitOfWorkMiddleware(application)
        scope = {"type": "http", "method": "GET", "path": "/"}
        await asyncio.gather(*(served(scope, respond, respond) for _ in range(2)))

    asyncio.run(main())


def test_django_inside_is_a_unit_inside(pool: Pool) -> None:
    """Its requests begin and end as ever, and do not end ours."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await aask()
        await ASGIHandler()(scope, receive, send)
        assert name_of_unit() == "GET /page/"

    with override_settings(ROOT_URLCONF="tests.django.urls"):
        seen = call(application, pool, path="/page/")
    assert seen == [("start", 0), ("body", 0)]
    assert taken(pool) == 0
