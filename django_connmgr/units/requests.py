"""Requests are units of work, by Django's signals: those come for requests no middleware sees."""

import asyncio
import functools
from typing import Any

from django.core.signals import request_finished, request_started
from django.http import HttpRequest, HttpResponseBase

from .._pool.owner import here
from .._pool.scope import OVER
from ..app_settings import app_settings
from ..signals import unit_finished, unit_started
from .cancelling import cancel_queries
from .current import find_unit, get_context, get_current, note_request_unit, set_current
from .hooks import WRAPPED
from .thread import release_all
from .unit import Unit
from .work import become_eager, finish


def connect_receivers() -> None:
    """Make every request a unit of work."""
    request_started.connect(on_request_started, weak=False, dispatch_uid="django_connmgr")
    request_finished.connect(on_request_finished, weak=False, dispatch_uid="django_connmgr")


def on_request_started(environ: Any = None, scope: Any = None, **kwargs: Any) -> None:  # noqa: ARG001
    """Begin a unit, named for the request: its method and path, never the query string."""
    parent = find_unit()
    if parent is not None and parent.is_request and not parent.is_over:
        # The previous request of this thread never finished: its client went away.
        finish(parent)
        parent = parent.parent
    if here.owner.held:
        release_all()
    if environ is not None:
        name = f"{environ.get('REQUEST_METHOD', '')} {environ.get('PATH_INFO', '')}"
    elif scope is not None:
        name = f"{scope.get('method', '')} {scope.get('path', '')}"
    else:
        name = ""
    unit = Unit(name, parent, is_request=True)
    set_current(unit)
    if get_context(None) is not None:
        note_request_unit(unit, get_context(None))  # type: ignore[arg-type]
    if unit_started.receivers:
        unit_started.send_robust(sender=Unit, unit=unit)


def on_request_finished(**kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    unit = get_current()
    if unit is None or not unit.is_request:
        unit = find_unit()
        unit = unit if unit is not None and unit.is_request else None
    if unit is not None and (scope := unit.scope).state is not OVER:
        set_current(unit.parent)
        if not (here.owner.held or unit_finished.receivers):
            # As nearly always: Django has closed its connections by now, and nothing is left.
            scope.state = OVER
            if scope.slots:
                scope.end()
            return
        finish(unit)
    if here.owner.held:
        release_all()


def wrap_handlers() -> None:
    """Give back what a request leased before the first chunk of its streamed response. Idempotent.

    And see that its client has gone. Django is wrapped because it says nothing in between:
    ``request_finished`` comes after the last chunk, which may be hours later, and a middleware does
    not see what is outside of it. Every handler, the test clients' too, calls these two methods.
    """
    # Later, because connections are used where no request is ever served.
    from django.core.handlers import base

    handler_class: Any = base.BaseHandler
    if hasattr(handler_class.get_response, WRAPPED):
        return
    get_response, get_response_async = handler_class.get_response, handler_class.get_response_async

    @functools.wraps(get_response)
    def get_response_and_release(handler: Any, request: HttpRequest) -> Any:
        response = get_response(handler, request)
        unit = _unit_of_stream(response)
        if unit is not None:
            unit.scope.become_eager()
        return response

    @functools.wraps(get_response_async)
    async def get_response_async_and_release(handler: Any, request: HttpRequest) -> Any:
        try:
            response = await get_response_async(handler, request)
        except asyncio.CancelledError:
            _on_disconnect()
            raise
        unit = _unit_of_stream(response)
        if unit is not None:
            await become_eager(unit)
        return response

    setattr(get_response_and_release, WRAPPED, True)
    handler_class.get_response = get_response_and_release
    handler_class.get_response_async = get_response_async_and_release


def _on_disconnect() -> None:
    """The request's client has gone: nothing waits for what its threads are doing."""
    unit = find_unit()
    if unit is not None and unit.is_request and app_settings().CANCEL_ON_DISCONNECT:
        cancel_queries(unit)


def _unit_of_stream(response: HttpResponseBase) -> Unit | None:
    """The request's unit, if the response is about to be streamed."""
    unit = find_unit() if response.streaming else None
    return unit if unit is not None and unit.is_request and not unit.is_over else None
