"""The site that is served over HTTP: a query, 10 ms of other work, and another query."""

from __future__ import annotations

import asyncio
import time

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

#: Seconds of a request that are not the database's.
OTHER_WORK = 0.01


def page(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    from testproject.shop.models import Customer

    first = Customer.objects.get(pk=1)
    time.sleep(OTHER_WORK)
    second = Customer.objects.get(pk=2)
    return HttpResponse(f"{first} {second}")


async def async_page(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    from testproject.shop.models import Customer

    first = await Customer.objects.aget(pk=1)
    await asyncio.sleep(OTHER_WORK)
    second = await Customer.objects.aget(pk=2)
    return HttpResponse(f"{first} {second}")


urlpatterns = [path("page/", page), path("async-page/", async_page)]


def __getattr__(name: str) -> object:
    """``wsgi`` and ``asgi`` are made when a server asks for them."""
    if name == "wsgi":
        return get_wsgi_application()
    if name == "asgi":
        return get_asgi_application()
    raise AttributeError(name)
