"""Middleware, for those who want a unit of work to begin and end in the middleware chain."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest

from .app_settings import app_settings
from .clusters import find_clusters
from .consistency import cookie
from .units import unit_of_work


class UnitOfWorkMiddleware:
    """Makes everything inside it one unit of work: put it first.

    Requests are units of work without it, and give their connections back before a streamed
    response is sent. With it, before any response is sent: that matters for slow clients. And
    where there are replicas, a client that wrote reads from the primary for ``STICKY_SECONDS``.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._seconds = app_settings().STICKY_SECONDS if find_clusters() else 0.0
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._call_async(request)
        with unit_of_work(f"{request.method} {request.path}"):
            self._begin(request)
            return self._end(request, self.get_response(request))

    async def _call_async(self, request: HttpRequest) -> Any:
        async with unit_of_work(f"{request.method} {request.path}"):
            self._begin(request)
            return self._end(request, await self.get_response(request))

    def _begin(self, request: HttpRequest) -> None:
        if self._seconds:
            cookie.recall(request, self._seconds)

    def _end(self, request: HttpRequest, response: Any) -> Any:
        if self._seconds:
            cookie.hand_out(request, response, self._seconds)
        return response
