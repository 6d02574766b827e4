"""FastAPI beside Django, in one process and with the same models, as its guide mounts it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from .asgi import application as django_application  # First: it sets up Django.

# isort: split

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount
from starlette.websockets import WebSocketDisconnect

from django_connmgr.exceptions import PoolError
from django_connmgr.integrations.asgi import ASGIUnitOfWorkMiddleware

from .views import _is_over, aask, ask

api = FastAPI(default_response_class=PlainTextResponse)
_meeting = threading.Barrier(2, timeout=20)


@api.get("/query")
def query() -> str:
    """On a thread of anyio's pool."""
    return ask()


@api.get("/aquery")
async def aquery() -> str:
    return await aask()


@api.get("/threads")
async def threads() -> str:
    answers = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(24)))
    return str(len(answers))


@api.get("/meet")
async def meet() -> str:
    """Answers when another request does the same, on another thread."""

    def wait() -> str:
        text = ask()
        _meeting.wait()
        return text

    return await sync_to_async(wait)()


@api.get("/fail")
def fail() -> str:
    with transaction.atomic():
        ask()
        raise HTTPException(404)


@api.get("/busy")
def busy() -> str:
    with transaction.atomic():
        ask()
        threading.Event().wait(0.1)
        return ask()


@api.get("/sleep")
def sleep(seconds: float) -> str:
    """The database itself takes its time, and then nothing waits for it any more."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
    except PoolError:
        return "cancelled"
    return "heap"


async def _until(until: str) -> None:
    since = time.monotonic()
    while not _is_over(until, since):  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.02)


@api.get("/stream")
def stream(until: str) -> StreamingResponse:
    ask()

    def lines() -> Iterator[str]:
        yield f"{ask()}\n"
        while not Path(until).exists():
            threading.Event().wait(0.02)
            yield "\n"
        yield f"{ask()}\n"

    return StreamingResponse(lines())


@api.get("/astream")
async def astream(until: str) -> StreamingResponse:
    await aask()

    async def lines() -> AsyncIterator[str]:
        yield f"{await aask()}\n"
        await _until(until)
        yield f"{await aask()}\n"

    return StreamingResponse(lines())


@api.get("/background")
async def background(tasks: BackgroundTasks, until: str) -> str:
    """What comes after the response lasts until the file is there."""
    tasks.add_task(ask)
    tasks.add_task(aask)
    tasks.add_task(_until, until)
    tasks.add_task(ask)
    return await aask()


@api.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while (message := await websocket.receive_text()) != "fail":
            query = sync_to_async(ask, thread_sensitive=message == "sensitive")
            await websocket.send_text(await query())
    except WebSocketDisconnect:
        return
    await aask()
    await websocket.close(1011)


application = ASGIUnitOfWorkMiddleware(
    Starlette(routes=[Mount("/api", api), Mount("/", django_application)])
)
