"""gRPC: every call that a server handles is one unit of work.

As the first interceptor of a server it is the outermost: what the others put around a method is
inside. A stream may last for hours, in either direction, so a call with one leases for each query
and keeps nothing between two messages.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import grpc
from asgiref.sync import ThreadSensitiveContext

from ..units import unit_of_work

Behavior = Callable[..., Any]


class UnitOfWorkInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """For ``grpc.server(..., interceptors=[UnitOfWorkInterceptor(), ...])``: put it first."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        return _in_units(continuation(details), details.method)


class AsyncUnitOfWorkInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """As ``UnitOfWorkInterceptor``, for ``grpc.aio.server()``; its methods may be sync, too.

    A call without a stream has a thread of its own for ``sync_to_async()``, as a request does.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        return _in_units(await continuation(details), details.method)


def _in_units(handler: Any, name: str) -> Any:
    """The handler of a method, each call of which is a unit; ``None`` if there is no handler."""
    if handler is None:
        return None
    streams = handler.request_streaming, handler.response_streaming
    kind = "_".join("stream" if is_stream else "unary" for is_stream in streams)
    behavior = getattr(handler, kind)
    if inspect.isasyncgenfunction(behavior):
        wrap = _async_stream
    elif inspect.iscoroutinefunction(behavior):
        wrap = _async_call
    else:
        wrap = _stream if handler.response_streaming else _call
    run = functools.wraps(behavior)(wrap(behavior, name, is_long=any(streams)))
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(run, handler.request_deserializer, handler.response_serializer)


@contextmanager
def _unit(name: str, *, is_long: bool) -> Iterator[None]:
    with unit_of_work(name) as unit:
        if is_long:
            unit.scope.become_eager()
        yield


@asynccontextmanager
async def _async_unit(name: str, *, is_long: bool) -> AsyncIterator[None]:
    async with nullcontext() if is_long else ThreadSensitiveContext(), unit_of_work(name) as unit:
        if is_long:
            unit.scope.become_eager()
        yield


def _call(behavior: Behavior, name: str, *, is_long: bool) -> Behavior:
    def run(request: Any, context: Any) -> Any:
        with _unit(name, is_long=is_long):
            return behavior(request, context)

    return run


def _stream(behavior: Behavior, name: str, *, is_long: bool) -> Behavior:
    def run(request: Any, context: Any) -> Iterator[Any]:
        with _unit(name, is_long=is_long):
            yield from behavior(request, context)

    return run


def _async_call(behavior: Behavior, name: str, *, is_long: bool) -> Behavior:
    async def run(request: Any, context: Any) -> Any:
        async with _async_unit(name, is_long=is_long):
            return await behavior(request, context)

    return run


def _async_stream(behavior: Behavior, name: str, *, is_long: bool) -> Behavior:
    async def run(request: Any, context: Any) -> AsyncIterator[Any]:
        async with (
            _async_unit(name, is_long=is_long),
            aclosing(behavior(request, context)) as responses,
        ):
            async for response in responses:
                yield response

    return run
