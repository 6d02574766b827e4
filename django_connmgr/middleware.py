"""Middleware, for those who want a unit of work to begin and end in the middleware chain."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest

from .units import unit_of_work


class UnitOfWorkMiddleware:
    """Makes everything inside it one unit of work: put it first.

    Requests are units of work without it, and give their connections back before a streamed
    response is sent. With it, before any response is sent: that matters for slow clients.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._call_async(request)
        with unit_of_work(f"{request.method} {request.path}"):
            return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> Any:
        async with unit_of_work(f"{request.method} {request.path}"):
            return await self.get_response(request)
