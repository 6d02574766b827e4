"""Cancels requests of Django's ASGI handler at one await after the other.

As a server does that gives up on them at its shutdown: nothing in Django runs then, not
even ``request_finished``. Prints each path and moment after which something stays leased.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from typing import Any

from django_connmgr import pools

from .asgi import application

PATHS = ["/aquery/", "/query/", "/threads/", "/missing/", "/sse/?until=/nowhere"]
#: Moments of a request are this far apart, in seconds.
STEP = 0.004
MOMENTS = 8
PATIENCE = 5.0


async def request(path: str) -> None:
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
        "headers": [], "http_version": "1.1",
    }  # fmt: skip
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # The client stays.

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    await application(scope, receive, send)


async def cancel_everywhere() -> list[str]:
    losses = []
    for path in PATHS:
        for moment in range(MOMENTS):
            task = asyncio.create_task(request(path))
            await asyncio.sleep(moment * STEP)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            del task  # Or it would keep its unit of work alive.
            if not await nothing_is_leased():
                losses.append(f"{path} cancelled at moment {moment}: {pools['default']!r}")
                return losses
    await request("/aquery/")
    return losses


async def nothing_is_leased() -> bool:
    for _ in range(int(PATIENCE / 0.01)):
        # What is left of a cancelled task is a cycle of exceptions and frames.
        gc.collect()
        stats = pools["default"].stats()
        if not stats.leased + stats.warm + stats.connecting + stats.maintenance:
            return True
        await asyncio.sleep(0.01)
    return False


if __name__ == "__main__":
    sys.exit("\n".join(asyncio.run(cancel_everywhere())) or None)
