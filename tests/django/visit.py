"""A client of an ASGI application that says and hears one message at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class Visit:
    """A request to the ASGI application whose client reads message by message."""

    def __init__(self, application: Any, path: str) -> None:
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
            "headers": [], "http_version": "1.1",
        }  # fmt: skip
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._requests.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._task = asyncio.create_task(application(scope, self._requests.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            await self._answers.put(message["body"])

    async def read(self) -> bytes:
        """The next piece of the body."""
        return await asyncio.wait_for(self._answers.get(), 30)

    async def hang_up(self) -> None:
        self.disconnect()
        await self._task

    def disconnect(self) -> None:
        self._requests.put_nowait({"type": "http.disconnect"})

    async def be_cancelled(self) -> None:
        """As by a server that serves nothing any more when a client has gone."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def end(self) -> None:
        await self._task
