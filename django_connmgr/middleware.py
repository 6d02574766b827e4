"""Middleware, for those who want a unit of work to begin and end in the middleware chain."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest

from .app_settings import app_settings
from .clusters import find_clusters
from .consistency.carriers import CARRIERS, Carrier
from .consistency.memory import find_memory
from .consistency.tokens import current_token, require_token
from .units import unit_of_work


class UnitOfWorkMiddleware:
    """Makes everything inside it one unit of work: put it first.

    Requests are units of work without it, and give their connections back before a streamed
    response is sent. With it, before any response is sent: that matters for slow clients. And
    where there are replicas, a client's requests read what its requests before them wrote.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        settings = app_settings()
        #: ``None`` where there is nothing to carry.
        self._carrier: Carrier | None = None
        if find_clusters() and settings.TOKEN_TTL > 0:
            self._carrier = CARRIERS[settings.CARRIER]()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._call_async(request)
        with unit_of_work(f"{request.method} {request.path}"):
            self._begin(request)
            response = self.get_response(request)
            if self._has_committed():
                self._hand_out(request, response)
            return response

    async def _call_async(self, request: HttpRequest) -> Any:
        async with unit_of_work(f"{request.method} {request.path}"):
            if self._carrier is not None and self._carrier.may_block:
                await sync_to_async(self._begin)(request)
            else:
                self._begin(request)
            response = await self.get_response(request)
            if self._has_committed():
                # In the thread of the connection that it was committed on.
                await sync_to_async(self._hand_out)(request, response)
            return response

    def _begin(self, request: HttpRequest) -> None:
        if self._carrier is not None:
            require_token(self._carrier.fetch(request))

    def _has_committed(self) -> bool:
        if self._carrier is None:
            return False
        memory = find_memory()
        return memory is not None and bool(memory.committed)

    def _hand_out(self, request: HttpRequest, response: Any) -> None:
        # Later than what other requests of this client were handed out meanwhile.
        token = current_token(is_fresh=True)
        if token is not None and self._carrier is not None:
            self._carrier.hand_out(request, response, token)
