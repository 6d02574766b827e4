"""ASGI applications beside Django's, of Starlette or FastAPI: every request is a unit of work.

A request begins for them without a signal of Django's, and ends without one. Inside are its
endpoint, on whichever thread, its dependencies, its stream, and its tasks in the background. From
the start of the response on, each query of the last two gives back what it leased: as a stream of
Django's, they may go on for hours.

A websocket does go on for hours. It is one unit, and each of its queries gives back what it leased,
from the first one on. Messages are no units, because only the handler knows which of its tasks
work on which message: what it awaits for the next one need not be where it works on the last.

The server says that a client has gone to those who listen. An application does not while it works,
so with ``CANCEL_ON_DISCONNECT`` the middleware listens in its place, as Django's own handler does.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from ..app_settings import app_settings
from ..units import Unit, become_eager, cancel_queries, unit_of_work

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class ASGIUnitOfWorkMiddleware:
    """Makes every request and every websocket of ``app`` a unit of work: put it outermost.

    Requests have a thread each for ``sync_to_async()``, as in Django's own handler: without that,
    all of the process would query on one thread, one after the other. Websockets and the lifespan
    have none: a thread for each open socket would be too many.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve_request(scope, receive, send)
            return
        async with unit_of_work(f"{scope['type']} {scope.get('path', '')}".rstrip()) as unit:
            unit.scope.become_eager()
            await self.app(scope, receive, send)

    async def _serve_request(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_and_release(message: Message) -> None:
            if message["type"] == "http.response.start":
                await become_eager(unit)
            await send(message)

        # Never the query string, in which there may be secrets.
        name = f"{scope['method']} {scope['path']}"
        async with ThreadSensitiveContext(), unit_of_work(name) as unit:
            if not app_settings().CANCEL_ON_DISCONNECT:
                await self.app(scope, receive, send_and_release)
                return
            client = Client(receive, send_and_release, unit)
            async with client.heard():
                await self.app(scope, client.receive, client.send)


class Client:
    """The client of one request: when it hangs up, the queries for its response are cancelled.

    What it sends is received one message before the application asks for it, and no more, so that
    a long body still waits at the server.
    """

    def __init__(self, receive: Receive, send: Send, unit: Unit) -> None:
        self._receive, self._send, self._unit = receive, send, unit
        # Whether its response is incomplete. Servers report a disconnect after it, too, when there
        # may be tasks in the background.
        self._waits = True
        # The next message, and after the end of the body the one that says that it has gone.
        self._coming: deque[asyncio.Task[Message]] = deque()

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Listen during a block, which a server may cancel when the client has gone."""
        self._listen()
        try:
            yield
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            for task in self._coming:
                task.cancel()

    async def receive(self) -> Message:
        """As the server's: after the last message, which is a disconnect, the same again."""
        task = self._coming[0]
        message = await asyncio.shield(task)
        if message["type"] != "http.disconnect" and self._coming[0] is task:
            self._coming.popleft()
            if not self._coming:
                self._listen()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._waits = False
        await self._send(message)

    def _listen(self) -> None:
        task = asyncio.create_task(self._take())
        # Its error is the application's, which need not ask for it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._coming.append(task)

    async def _take(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
        elif not message.get("more_body"):
            self._listen()
        return message

    def _leave(self) -> None:
        if self._waits:
            cancel_queries(self._unit)
