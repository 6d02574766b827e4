"""Views for the tests of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import OperationalError, transaction
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path

from django_connmgr import lease_connection, pools, released, with_connection
from testproject.shop.models import Customer

from .server import await_that
from .threads import ask, taken


def backend(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"backend": ask(), "leased": taken(pools["default"])})


def broken(request: HttpRequest) -> HttpResponse:
    ask()
    raise ValueError("a bug in a view")


def forgetful(request: HttpRequest) -> HttpResponse:
    transaction.set_autocommit(False)
    Customer.objects.create(name="never committed")
    return HttpResponse()


@with_connection()
def decorated(request: HttpRequest) -> HttpResponse:
    return backend(request)


@with_connection()
async def decorated_async(request: HttpRequest) -> HttpResponse:
    name = await Customer.objects.acreate(name="asynchronous")
    return JsonResponse({"leased": taken(pools["default"]), "id": name.pk})


def slow(request: HttpRequest) -> HttpResponse:
    with released():
        pass
    return JsonResponse({"names": list(Customer.objects.values_list("name", flat=True))})


#: How the views below ended, or what they are about to do.
OUTCOMES: list[str] = []


def write_and_sleep(seconds: float) -> None:
    try:
        with transaction.atomic():
            Customer.objects.create(name="sleeper")
            ask(f"SELECT pg_sleep({seconds})::text")
        OUTCOMES.append("done")
    except OperationalError as error:
        OUTCOMES.append(str(error))


def sleep(request: HttpRequest) -> HttpResponse:
    write_and_sleep(float(request.GET["seconds"]))
    return HttpResponse()


async def sleep_async(request: HttpRequest) -> HttpResponse:
    return await sync_to_async(sleep)(request)


def hesitate(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        Customer.objects.create(name="hesitant")
        OUTCOMES.append("hesitates")
        await_that(lambda: "gone" in OUTCOMES)
    OUTCOMES.append("done")
    return HttpResponse()


# Streams. Each line says what is leased before a query of the stream's own, and after it.


def look_and_ask() -> str:
    before = leased()
    ask()
    return f"{before} {leased()}\n"


def leased() -> int:
    return taken(pools["default"])


def stream(request: HttpRequest) -> StreamingHttpResponse:
    ask()
    return StreamingHttpResponse(look_and_ask() for _ in range(2))


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    await sync_to_async(ask)()
    # On a thread that Django does not know of, too.
    await asyncio.to_thread(lease_connection)

    async def lines() -> AsyncIterator[str]:
        for _ in range(2):
            yield await sync_to_async(look_and_ask)()

    return StreamingHttpResponse(lines())


def stream_of_rows(request: HttpRequest) -> StreamingHttpResponse:
    """Rows of a query that the view has begun to read: is the table empty?"""
    rows = Customer.objects.order_by("name").values_list("name", flat=True).iterator(chunk_size=1)
    first = next(rows)

    def lines() -> Iterator[str]:
        yield f"{first} {leased()}\n"
        for name in rows:
            yield f"{name} {leased()}\n"
        yield f"{leased()}\n"

    return StreamingHttpResponse(lines())


def file(request: HttpRequest) -> FileResponse:
    ask()
    return FileResponse(Path(__file__).open("rb"))


urlpatterns = [
    path("sleep/", sleep),
    path("sleep-async/", sleep_async),
    path("hesitate/", hesitate),
    path("stream/", stream),
    path("stream-async/", stream_async),
    path("stream-of-rows/", stream_of_rows),
    path("file/", file),
    path("backend/", backend),
    path("broken/", broken),
    path("forgetful/", forgetful),
    path("decorated/", decorated),
    path("released/", slow),
    path("decorated-async/", decorated_async),
]
