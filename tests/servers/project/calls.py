"""gRPC servers of both kinds, on methods whose messages are bytes: no compiler is needed.

``python -m tests.servers.project.calls threads|asyncio PORT``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django

django.setup()

import grpc
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpRequest

from django_connmgr import lease_connection
from django_connmgr.integrations.grpc import AsyncUnitOfWorkInterceptor, UnitOfWorkInterceptor
from django_connmgr.units.current import find_unit

from . import views

THREADS = 16
#: What an interceptor found in which it queried after a method.
noted: list[str] = []


def ask() -> bytes:
    return views.ask().encode()


async def aask() -> bytes:
    return (await views.aask()).encode()


def is_over(until: bytes, since: float) -> bool:
    return views._is_over(until.decode(), since)


# Sync methods


def stats(request: bytes, context: Any) -> bytes:
    return views.stats(HttpRequest()).content


def notes(request: bytes, context: Any) -> bytes:
    return json.dumps(noted).encode()


def busy(request: bytes, context: Any) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [float(request)])
    return b"heap"


def query(request: bytes, context: Any) -> bytes:
    return ask()


def kept(request: bytes, context: Any) -> bytes:
    lease_connection()
    return ask()


def fail(request: bytes, context: Any) -> bytes:
    with transaction.atomic():
        ask()
        raise ValueError("as it should")


def abort(request: bytes, context: Any) -> bytes:
    with transaction.atomic():
        ask()
        context.abort(grpc.StatusCode.NOT_FOUND, "as it should")
        return b""


def listen(request: bytes, context: Any) -> Iterator[bytes]:
    """A message, then others until a file is there; after one of these a client may be gone."""
    since = time.monotonic()
    yield ask()
    while not is_over(request, since):
        time.sleep(0.02)
        yield b"."
    yield ask()


def upload(requests: Iterator[bytes], context: Any) -> bytes:
    return b" ".join(ask() for _ in requests)


def chat(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        if request == b"fail":
            raise ValueError("as it should")
        yield ask()


# Async methods


_meeting = threading.Barrier(2, timeout=20)


async def ameet(request: bytes, context: Any) -> bytes:
    """Answers when another call does the same, on another thread."""

    def wait() -> bytes:
        answer = ask()
        _meeting.wait()
        return answer

    return await sync_to_async(wait)()


async def aquery(request: bytes, context: Any) -> bytes:
    return await aask()


async def akept(request: bytes, context: Any) -> bytes:
    await sync_to_async(lease_connection)()
    return await aask()


async def abusy(request: bytes, context: Any) -> bytes:
    return await sync_to_async(busy)(request, context)


async def afail(request: bytes, context: Any) -> bytes:
    await aask()
    raise ValueError("as it should")


async def aabort(request: bytes, context: Any) -> None:
    await aask()
    await context.abort(grpc.StatusCode.NOT_FOUND, "as it should")


async def alisten(request: bytes, context: Any) -> AsyncIterator[bytes]:
    since = time.monotonic()
    yield await aask()
    while not is_over(request, since):
        await asyncio.sleep(0.02)
        yield b"."
    yield await aask()


async def aupload(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b" ".join([await aask() async for _ in requests])


async def achat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        if request == b"fail":
            raise ValueError("as it should")
        yield await aask()


async def awrite(requests: AsyncIterator[bytes], context: Any) -> None:
    """Writes its messages by itself."""
    while (await context.read()) is not grpc.aio.EOF:
        await context.write(await aask())


KINDS: dict[str, list[Callable[..., Any]]] = {
    "unary_unary": [stats, notes, query, kept, fail, abort, busy,
                    ameet, aquery, akept, afail, aabort, abusy],
    "unary_stream": [listen, alisten],
    "stream_unary": [upload, aupload],
    "stream_stream": [chat, achat, awrite],
}  # fmt: skip
HANDLERS = {
    function.__name__: getattr(grpc, f"{kind}_rpc_method_handler")(function)
    for kind, functions in KINDS.items()
    for function in functions
}


class Hook(grpc.ServerInterceptor):
    """Queries after a method, as one does that writes down who called."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if not details.method.endswith("/query"):
            return handler

        def run(request: bytes, context: Any) -> bytes:
            answer = handler.unary_unary(request, context)
            ask()
            unit = find_unit()
            noted.append(unit.name if unit else "")
            return answer

        return grpc.unary_unary_rpc_method_handler(run)


def serve_threads(port: str) -> None:
    server = grpc.server(
        ThreadPoolExecutor(THREADS), interceptors=[UnitOfWorkInterceptor(), Hook()]
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests", HANDLERS)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
    server.wait_for_termination()


async def serve_asyncio(port: str) -> None:
    """Its sync methods run on threads of another pool."""
    server = grpc.aio.server(
        ThreadPoolExecutor(THREADS), interceptors=[AsyncUnitOfWorkInterceptor()]
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests", HANDLERS)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(5)


if __name__ == "__main__":
    # It writes down what methods raise; the client is told.
    for name in ("grpc._server", "grpc._cython.cygrpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    kind, port = sys.argv[1:]
    if kind == "threads":
        serve_threads(port)
    else:
        asyncio.run(serve_asyncio(port))
