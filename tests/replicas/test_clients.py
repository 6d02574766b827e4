"""A client reads what its last request wrote, though no replica has it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import signing
from django.core.signals import request_finished, request_started
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from django_connmgr import marks_write
from django_connmgr.app_settings import app_settings
from django_connmgr.consistency.cookie import NAME
from django_connmgr.middleware import UnitOfWorkMiddleware
from django_connmgr.routers import explain_route
from testproject.replication import Replication
from testproject.shop.models import Customer

View = Callable[[HttpRequest], HttpResponse]


def write(_: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
    return HttpResponse()


def read(_: HttpRequest) -> HttpResponse:
    Customer(name="Grace").full_clean()
    return HttpResponse(explain_route(Customer))


def call(view: View, cookies: dict[str, str] | None = None, **extra: Any) -> HttpResponse:
    request = RequestFactory(**extra).get("/")
    request.COOKIES.update(cookies or {})
    response: HttpResponse = UnitOfWorkMiddleware(view)(request)
    return response


def cookies_of(response: HttpResponse) -> dict[str, str]:
    return {name: morsel.value for name, morsel in response.cookies.items()}


def test_a_client_that_wrote_reads_from_the_primary(project: Replication) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    response = call(write)
    morsel = response.cookies[NAME]
    assert (morsel["max-age"], morsel["httponly"], morsel["samesite"]) == (2, True, "Lax")
    cookies = cookies_of(response)
    assert call(read, cookies).content == b"default: this unit of work has written"
    counted = call(lambda _: HttpResponse(str(Customer.objects.count())), cookies)
    assert (counted.content, cookies_of(counted)) == (b"1", {})


def test_a_client_that_only_read_has_no_cookie(project: Replication) -> None:
    response = call(read)
    assert response.content.startswith(b"copies")
    assert cookies_of(response) == {}


def test_what_was_rolled_back_sets_no_cookie(project: Replication) -> None:
    def fail(_: HttpRequest) -> HttpResponse:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            Customer.objects.create(name="Ada")
            raise ZeroDivisionError
        return HttpResponse()

    assert cookies_of(call(fail)) == {}


def test_clients_of_two_clusters_remember_both(project: Replication) -> None:
    def mark(using: str) -> View:
        def view(_: HttpRequest) -> HttpResponse:
            marks_write(using)
            return HttpResponse()

        return view

    cookies = cookies_of(call(mark("other"), cookies_of(call(write))))
    assert call(read, cookies).content == b"default: this unit of work has written"


def test_what_a_response_streams_is_read_from_the_primary_too(project: Replication) -> None:
    def stream(_: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(explain_route(Customer) for _ in range(1))

    cookies = cookies_of(call(write))
    request_started.send(sender=None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/"})
    try:
        response = call(stream, cookies)
        assert list(response) == [b"default: this unit of work has written"]
    finally:
        request_finished.send(sender=None)


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "default",
        "default:1:forged",
        signing.TimestampSigner(salt="another").sign("default"),
        "x" * 4000,
    ],
)
def test_a_forged_cookie_is_as_good_as_none(project: Replication, cookie: str) -> None:
    assert call(read, {NAME: cookie}).content.startswith(b"copies")


def test_an_old_cookie_is_as_good_as_none(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookies = cookies_of(call(write))
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + app_settings().STICKY_SECONDS + 1)
    assert call(read, cookies).content.startswith(b"copies")


def test_so_it_is_in_asynchronous_code(project: Replication) -> None:
    async def write_later(_: HttpRequest) -> HttpResponse:
        await Customer.objects.acreate(name="Ada")
        return HttpResponse()

    async def main() -> HttpResponse:
        response: HttpResponse = await UnitOfWorkMiddleware(write_later)(
            AsyncRequestFactory().get("/")
        )
        return response

    assert NAME in async_to_sync(main)().cookies
