"""A streamed response: its request holds nothing from the first chunk on, without any setting."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.apps import apps
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import Client, RequestFactory, TestCase, override_settings

from django_connmgr import unit_of_work, with_connection
from django_connmgr.middleware import UnitOfWorkMiddleware
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .threads import ask, in_threads, taken
from .visit import Visit


@pytest.fixture(autouse=True)
def urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.django.urls"):
        yield
    gc.collect()  # The thread of a loop ends with its executor.


@pytest.fixture
def two(pool_of: PoolOf) -> Pool:
    """A pool of two that takes nothing away from its owners."""
    return pool_of(max_size=2, reclaim=False)


def leased(pool: Pool) -> int:
    return taken(pool)


def serve(path: str, **environ: Any) -> Any:
    """What the WSGI application returns to its server."""
    environ["PATH_INFO"] = path
    setup_testing_defaults(environ)
    return WSGIHandler()(environ, lambda *_: None)


def on_asgi(visit: Callable[[Callable[[str], Visit]], Coroutine[Any, Any, None]]) -> None:
    """Run ``visit`` with a function that opens a path of one ASGI application."""

    async def run() -> None:
        application = ASGIHandler()
        await visit(lambda path: Visit(application, path))

    async_to_sync(run)()


def test_nothing_is_leased_at_the_first_chunk_nor_between_two(two: Pool, client: Client) -> None:
    response = client.get("/stream/")
    assert leased(two) == 0
    assert list(response) == [b"0 0\n"] * 2  # type: ignore[call-overload]
    assert leased(two) == 0


def test_nothing_is_leased_when_a_stream_is_closed_half_way(two: Pool) -> None:
    with closing(serve("/stream/")) as chunks:
        assert next(iter(chunks)) == b"0 0\n"
    assert leased(two) == 0


def open_both(pool: Pool) -> None:
    """The next thread need not wait for what another may return sooner than it opens."""
    both = threading.Barrier(2, timeout=30)

    def hold() -> None:
        with with_connection():
            both.wait()

    in_threads(2, hold)
    assert pool.stats().size == 2


def test_two_open_streams_leave_a_pool_of_two_to_others(two: Pool) -> None:
    open_both(two)
    waits = two.stats().waits
    are_open, may_end = threading.Barrier(3, timeout=30), threading.Event()

    def read() -> int:
        with closing(serve("/stream/")) as response:
            chunks = iter(response)
            next(chunks)
            are_open.wait()
            assert may_end.wait(30)
            return len(list(chunks))

    def visit() -> int:
        are_open.wait()
        try:
            assert leased(two) == 0
            return int(Client().get("/backend/").json()["leased"])
        finally:
            may_end.set()

    jobs = [read, read, visit]

    def work() -> int:
        return jobs.pop()()

    assert in_threads(3, work) == [1, 1, 1]
    assert (leased(two), two.stats().waits) == (0, waits)


def test_two_open_asynchronous_streams_leave_a_pool_of_two_to_others(two: Pool) -> None:
    async def visit(get: Callable[[str], Visit]) -> None:
        streams = []
        for _ in range(2):  # One after the other: until it is open, each leases two.
            streams.append(get("/stream-async/"))
            assert await streams[-1].read() == b"0 0\n"
        other = get("/backend/")
        assert b'"leased": 1' in await other.read()
        await other.end()
        for stream in streams:
            await stream.read()
            await stream.end()

    on_asgi(visit)
    assert (leased(two), two.stats().reaped) == (0, 0)


def test_an_asynchronous_stream_leases_for_its_queries_alone(two: Pool) -> None:
    async def visit(get: Callable[[str], Visit]) -> None:
        stream = get("/stream-async/")
        assert [await stream.read() for _ in range(2)] == [b"0 0\n"] * 2
        await stream.end()

    on_asgi(visit)
    assert leased(two) == 0


def test_nothing_is_leased_when_a_client_of_an_asynchronous_stream_hangs_up(two: Pool) -> None:
    async def visit(get: Callable[[str], Visit]) -> None:
        stream = get("/stream-async/")
        assert await stream.read() == b"0 0\n"
        await stream.hang_up()

    on_asgi(visit)
    assert leased(two) == 0


def test_a_server_that_is_itself_in_a_unit_releases_at_the_end_of_requests(two: Pool) -> None:
    """One that a management command runs, for example."""

    async def visit(get: Callable[[str], Visit]) -> None:
        stream = get("/stream-async/")
        assert await stream.read() == b"0 0\n"
        await stream.hang_up()
        assert leased(two) == 0

    with unit_of_work("server"):
        on_asgi(visit)


def test_a_file_that_the_server_sends_itself_holds_nothing(two: Pool) -> None:
    with closing(serve("/file/", **{"wsgi.file_wrapper": FileWrapper})) as file:
        assert type(file) is FileWrapper
        assert leased(two) == 0
        assert next(iter(file)).startswith(b'"""Views')
    assert leased(two) == 0


def test_rows_that_the_view_began_to_read_are_streamed_to_their_end(
    two: Pool, client: Client
) -> None:
    for name in ("Ada", "Bob", "Eve"):
        Customer.objects.create(name=name)
    connection.close()
    assert list(client.get("/stream-of-rows/")) == [  # type: ignore[call-overload]
        b"Ada 1\n",
        b"Bob 1\n",
        b"Eve 1\n",
        b"0\n",
    ]


def test_a_block_around_the_request_keeps_its_connection(two: Pool, client: Client) -> None:
    with unit_of_work(), with_connection():
        backend = ask()
        assert list(client.get("/stream/")) == [b"1 1\n"] * 2  # type: ignore[call-overload]
        assert ask() == backend


class InsideATestCase(TestCase):
    def test_a_stream_shares_the_tests_transaction(self) -> None:
        Customer.objects.create(name="Ada")
        mine = ask()
        assert list(self.client.get("/stream/")) == [b"1 1\n"] * 2  # type: ignore[call-overload]
        assert (ask(), Customer.objects.count()) == (mine, 1)


def test_an_application_that_is_made_ready_twice_wraps_once() -> None:
    before = BaseHandler.get_response, BaseHandler.get_response_async
    apps.get_app_config("django_connmgr").ready()
    assert (BaseHandler.get_response, BaseHandler.get_response_async) == before


# The middleware, for responses that are not streamed.


def response_after_a_query(request: HttpRequest) -> HttpResponse:
    return HttpResponse(ask())


async def response_after_a_query_in_a_task(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await sync_to_async(ask)())


def test_the_middleware_gives_back_before_the_response_is_sent(pool: Pool) -> None:
    request = RequestFactory().get("/")
    assert UnitOfWorkMiddleware(response_after_a_query)(request).status_code == 200
    assert leased(pool) == 0


def test_the_middleware_does_so_in_a_task(pool: Pool) -> None:
    async def visit() -> HttpResponseBase:
        middleware: Any = UnitOfWorkMiddleware(response_after_a_query_in_a_task)
        assert iscoroutinefunction(middleware)
        response: HttpResponseBase = await middleware(RequestFactory().get("/"))
        assert leased(pool) == 0
        return response

    assert async_to_sync(visit)().status_code == 200
