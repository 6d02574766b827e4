"""ASGI applications beside Django's, of Starlette or FastAPI: every request is a unit of work.

A request begins for them without a signal of Django's, and ends without one. Inside are its
endpoint, on whichever thread, its dependencies, its stream, and its tasks in the background. From
the start of the response on, each query of the last two gives back what it leased: as a stream of
Django's, they may go on for hours.

A websocket does go on for hours. It is one unit, and each of its queries gives back what it leased,
from the first one on. Messages are no units, because only the handler knows which of its tasks
work on which message: what it awaits for the next one need not be where it works on the last.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from ..units import become_eager, unit_of_work

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
            await self.app(scope, receive, send_and_release)
