"""What real views do with a database, one habit each."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path

from django.db import connection, transaction
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)

from django_connmgr import lease_connection, pools, released, with_connection

from .models import AccessMethod

#: Long enough for a test to see that a stream is open, if the test does not end it before.
PATIENCE = 20.0


def ask() -> str:
    """One query; the methods are the same in every PostgreSQL."""
    return str(AccessMethod.objects.get(amname="heap"))


async def aask() -> str:
    return str(await AccessMethod.objects.aget(amname="heap"))


def stats(request: HttpRequest) -> JsonResponse:
    """The pool's counts, without touching the database."""
    stats = pools["default"].stats()
    fields = (field.name for field in dataclasses.fields(stats))
    counts = {name: count for name in fields if isinstance(count := getattr(stats, name), int)}
    return JsonResponse({**counts, "pid": os.getpid()})


def query(request: HttpRequest) -> HttpResponse:
    return HttpResponse(ask())


async def aquery(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await aask())


def atomic(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        return HttpResponse(ask() + ask())


def fail(request: HttpRequest) -> HttpResponse:
    """Breaks inside a transaction."""
    with transaction.atomic():
        ask()
        raise Http404


def work(request: HttpRequest) -> HttpResponse:
    """One query, then something else that takes its time."""
    text = ask()
    time.sleep(float(request.GET.get("seconds", "2")))
    return HttpResponse(text)


def sleep_in_transaction(request: HttpRequest) -> HttpResponse:
    """As one that calls another service from within."""
    with transaction.atomic():
        text = ask()
        time.sleep(float(request.GET.get("seconds", "2")))
    return HttpResponse(text)


def work_released(request: HttpRequest) -> HttpResponse:
    """The same, giving the connection back for the work that needs none."""
    text = ask()
    with released():
        time.sleep(float(request.GET.get("seconds", "2")))
    return HttpResponse(text)


async def awork(request: HttpRequest) -> HttpResponse:
    text = await aask()
    await asyncio.sleep(float(request.GET.get("seconds", "2")))
    return HttpResponse(text + await aask())


def busy(request: HttpRequest) -> HttpResponse:
    """The database itself takes its time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [float(request.GET.get("seconds", "1"))])
    return HttpResponse("heap")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """``handler404``: outside of all middleware, and it asks the database too."""
    return HttpResponse(ask(), status=404)


async def threads(request: HttpRequest) -> HttpResponse:
    """24 queries at once, on threads of which Django knows nothing."""
    answers = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(24)))
    return HttpResponse(str(len(answers)))


# Streams: a chunk with a query in it, then another when the file ``until`` appears.


def _is_over(until: str, since: float) -> bool:
    return Path(until).exists() or time.monotonic() - since > PATIENCE


def stream(request: HttpRequest) -> StreamingHttpResponse:
    until, since = request.GET["until"], time.monotonic()
    ask()

    def chunks() -> Iterator[str]:
        yield f"{ask()}\n"
        while not _is_over(until, since):
            time.sleep(0.02)
        yield f"{ask()}\n"

    return StreamingHttpResponse(chunks())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    await aask()
    return StreamingHttpResponse(_lines("{}\n", request.GET["until"]))


async def sse(request: HttpRequest) -> StreamingHttpResponse:
    lines = _lines("data: {}\n\n", request.GET["until"])
    return StreamingHttpResponse(lines, content_type="text/event-stream")


async def _lines(line: str, until: str) -> AsyncIterator[str]:
    since = time.monotonic()
    yield line.format(await aask())
    while not _is_over(until, since):  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.02)
    yield line.format(await aask())


def taken() -> int:
    """How many connections are leased, or warm for a request."""
    stats = pools["default"].stats()
    return stats.leased + stats.warm


def silent_stream(request: HttpRequest) -> StreamingHttpResponse:
    """The view asks, the stream does not: is anything leased before the first chunk?"""
    ask()

    def chunks() -> Iterator[str]:
        yield f"{taken()}\n"

    return StreamingHttpResponse(chunks())


def leases_between_steps(request: HttpRequest) -> StreamingHttpResponse:
    """Each line says what is leased: before a query of the stream, and after it."""
    ask()

    def chunks() -> Iterator[str]:
        for _ in range(2):
            before = taken()
            ask()
            yield f"{before} {taken()}\n"

    return StreamingHttpResponse(chunks())


def file(request: HttpRequest) -> FileResponse:
    ask()
    return FileResponse(Path(__file__).open("rb"))


def large_file(request: HttpRequest) -> FileResponse:
    """More than fits between the server and a client that does not read."""
    ask()
    content = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the response
    content.write(b"first line\n")
    content.truncate(1 << 26)  # Takes no room on the disk.
    content.seek(0)
    return FileResponse(content)


# Where gevent has patched everything.


def killed(request: HttpRequest) -> HttpResponse:
    """Greenlets are killed and timed out in the middle of queries and transactions."""
    import gevent  # Only some servers have it.

    def wait(*, is_atomic: bool) -> None:
        with transaction.atomic() if is_atomic else nullcontext(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    def time_out() -> None:
        with gevent.Timeout(0.1, False):
            wait(is_atomic=True)
        ask()  # The same greenlet goes on, on a connection that works.

    # Twice as many as there are connections: half of them are killed while they wait.
    greenlets = [gevent.spawn(wait, is_atomic=number % 2 == 0) for number in range(8)]
    gevent.sleep(0.1)
    gevent.killall(greenlets)
    gevent.spawn(time_out).get()
    return HttpResponse(ask())


def forgotten(request: HttpRequest) -> HttpResponse:
    """Greenlets that end without giving back what they leased."""
    import gevent

    gevent.joinall([gevent.spawn(lease_connection) for _ in range(8)], raise_error=True)
    return HttpResponse(ask())


def owners(request: HttpRequest) -> HttpResponse:
    """Greenlets that query at once do so on connections of their own."""
    import gevent

    def own() -> int:
        with with_connection() as wrapper, wrapper.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), pg_sleep(0.1)")
            return int(cursor.fetchone()[0])

    greenlets = [gevent.spawn(own) for _ in range(3)]
    gevent.joinall(greenlets, raise_error=True)
    return HttpResponse(str(len({greenlet.value for greenlet in greenlets})))


_SESSION = """
SELECT current_setting('application_name'), current_setting('TimeZone'),
    current_setting('work_mem'), current_setting('search_path'), to_regclass('pg_temp.mine')::text,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""


def session(request: HttpRequest) -> HttpResponse:
    """What it finds in its session, where every request leaves the same for its transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_SESSION)
        found = cursor.fetchone()
        with transaction.atomic():
            cursor.execute("SET LOCAL work_mem = '99kB'; SET LOCAL TimeZone = 'Asia/Tokyo'")
            cursor.execute("SET LOCAL search_path = pg_temp; SET LOCAL application_name = 'mine'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int(request.GET["n"])])
            cursor.execute("CREATE TEMP TABLE mine (n int) ON COMMIT DROP")
    return JsonResponse(found, safe=False)
