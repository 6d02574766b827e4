"""A client reads what its last request wrote, though no replica has it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as project_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core import signing
from django.core.signals import request_finished, request_started
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings

from django_connmgr import current_token, marks_write, pools, replicas
from django_connmgr._pool.position import Position
from django_connmgr.app_settings import app_settings
from django_connmgr.consistency.carriers import COOKIE, HEADER
from django_connmgr.consistency.memory import has_written
from django_connmgr.consistency.tokens import required_of
from django_connmgr.middleware import UnitOfWorkMiddleware
from django_connmgr.routers import explain_route
from testproject.replication import Replication
from testproject.shop.models import Customer
from testproject.waiting import until

from .conftest import INTERVAL, REPLICA

View = Callable[[HttpRequest], HttpResponse]


def write(_: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
    return HttpResponse()


def read(_: HttpRequest) -> HttpResponse:
    Customer(name="Grace").full_clean()
    return HttpResponse(explain_route(Customer))


def call(
    view: View, cookies: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> HttpResponse:
    request = RequestFactory(headers=headers).get("/")
    request.COOKIES.update(cookies or {})
    response: HttpResponse = UnitOfWorkMiddleware(view)(request)
    return response


def cookies_of(response: HttpResponse) -> dict[str, str]:
    return {name: morsel.value for name, morsel in response.cookies.items()}


def count(_: HttpRequest) -> HttpResponse:
    """How many rows there are, and on which server."""
    with connections[REPLICA].cursor() as cursor:
        cursor.execute("SELECT count(*), inet_server_port() FROM shop_customer")
        number, port = cursor.fetchone()
        return HttpResponse(f"{number} on {port}")


def test_a_client_that_wrote_reads_from_the_replica_that_has_it(project: Replication) -> None:
    paused, other = project.replicas
    paused.pause_replay()
    response = call(write)
    morsel = response.cookies[COOKIE]
    assert (morsel["max-age"], morsel["httponly"], morsel["samesite"]) == (60, True, "Lax")
    other.await_replayed()
    for _ in range(4):
        counted = call(count, cookies_of(response))
        assert counted.content.decode() == f"1 on {other.port}"
        assert cookies_of(counted) == {}


def test_if_no_replica_has_it_a_client_waits_a_while_and_then_reads_from_the_primary(
    project: Replication,
) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    cookies = cookies_of(call(write))
    before = time.monotonic()
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "WAIT": 0.2}):
        assert call(count, cookies).content.decode() == f"1 on {project.primary.port}"
    assert time.monotonic() - before >= 0.2
    assert call(count).content.decode().startswith("0 on")


def test_a_replica_that_catches_up_while_a_client_waits_is_read_from(project: Replication) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    cookies = cookies_of(call(write))
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "WAIT": 10}):
        timer = threading.Timer(0.02, lambda: [one.resume_replay() for one in project.replicas])
        timer.start()
        counted = call(count, cookies).content.decode()
        timer.join()
    assert counted in {f"1 on {replica.port}" for replica in project.replicas}


def test_what_is_known_to_be_replayed_is_not_asked_again(project: Replication) -> None:
    cookies = cookies_of(call(write))
    project.await_replayed()
    for _ in project.replicas:
        call(count)  # They take turns: each has a connection now.
    opened_at = time.monotonic()

    def must_not_ask(*args: Any) -> None:
        raise AssertionError("It was asked again.")

    pool: Any = pools[REPLICA]
    until(
        lambda: all(one.replayed and one.asked_at > opened_at for one in role().hosts.all),
        lambda: "the monitor has seen all of them",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pool.driver), "report_of", must_not_ask)
        for _ in range(4):
            assert call(count, cookies).content.decode().startswith("1 on")


def role() -> Any:
    return connections[REPLICA].reader.role  # type: ignore[attr-defined]


def test_a_unit_that_wrote_costs_one_more_round_trip_and_one_that_did_not_none(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    driver = type(pools["default"].driver)  # type: ignore[attr-defined]
    report_of = driver.report_of
    monkeypatch.setattr(
        driver, "report_of", lambda self, raw: asked.append(raw) or report_of(self, raw)
    )
    call(read)
    assert asked == []
    call(write)
    assert len(asked) == 1

    def write_and_enqueue(request: HttpRequest) -> HttpResponse:
        response = write(request)
        assert current_token() is not None
        assert current_token() is not None
        return response

    call(write_and_enqueue)
    assert len(asked) == 1 + 2  # For what it enqueued, and at its end.


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
    def mark(_: HttpRequest) -> HttpResponse:
        marks_write("other")
        return HttpResponse()

    cookies = cookies_of(call(mark, cookies_of(call(write))))
    required = call(lambda _: HttpResponse(f"{required_of('default')}"), cookies).content.decode()
    assert Position.parse(required).timeline == project.primary.timeline()
    known = call(lambda _: HttpResponse(f"{has_written('other')}"), cookies)
    assert known.content == b"True"


def test_a_primary_that_does_not_tell_is_read_from_for_some_seconds(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(pools["default"].driver), "report_of", lambda *_: None)
    cookies = cookies_of(call(write))
    assert call(read, cookies).content == b"default: this unit of work has written"
    now = signing.time.time()
    monkeypatch.setattr(time, "time", lambda: now + app_settings().STICKY_SECONDS + 1)
    assert call(read, cookies).content.startswith(b"copies")


def test_what_a_response_streams_shows_the_write_too(project: Replication) -> None:
    for replica in project.replicas:
        replica.pause_replay()

    def stream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(count(request).content for _ in range(1))

    cookies = cookies_of(call(write))
    request_started.send(sender=None, environ={"REQUEST_METHOD": "GET", "PATH_INFO": "/"})
    try:
        response = call(stream, cookies)
        assert list(response) == [f"1 on {project.primary.port}".encode()]
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
def test_a_forged_cookie_is_counted_and_as_good_as_none(project: Replication, cookie: str) -> None:
    before = replicas().ignored_tokens
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "WAIT": 10}):
        assert call(read, {COOKIE: cookie}).content.startswith(b"copies")
        call(count, {COOKIE: cookie})
    assert replicas().ignored_tokens == before + 2


def test_an_old_cookie_is_as_good_as_none(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    cookies = cookies_of(call(write))
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + app_settings().TOKEN_TTL + 1)
    assert call(count, cookies).content.startswith(b"0 on")


@pytest.mark.parametrize("carrier", ["header", "cache"])
def test_other_carriers_bring_it_back(project: Replication, carrier: str) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    settings = {"PROBE_INTERVAL": INTERVAL, "CARRIER": carrier, "CARRIER_KEY": user_of}
    with override_settings(CONNMGR=settings):
        response = call(write, headers={"X-User": "ada"})
        token = response.headers.get(HEADER)
        assert (token is None) is (carrier == "cache")
        assert cookies_of(response) == {}
        headers = {HEADER: token} if token else {}
        counted = call(count, headers={"X-User": "ada", **headers}).content.decode()
        assert counted == f"1 on {project.primary.port}"
        assert call(count, headers={"X-User": "bob"}).content.startswith(b"0 on")
        assert call(count).content.startswith(b"0 on")


def user_of(request: HttpRequest) -> str | None:
    return request.headers.get("X-User")


def test_a_cache_that_is_gone_fails_no_request(
    project: Replication, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"CARRIER": "cache", "CARRIER_KEY": "tests.nowhere"}
    with override_settings(CONNMGR=settings):
        assert call(write).status_code == 200
    assert "does not tell what a client has written" in caplog.text
    assert "does not take what a client has written" in caplog.text


def test_sessions_are_the_keys_of_the_cache(project: Replication) -> None:
    for replica in project.replicas:
        replica.pause_replay()

    def write_in_session(request: HttpRequest) -> HttpResponse:
        request.session = SessionStore("abcdefgh")
        return write(request)

    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "CARRIER": "cache"}):
        call(write_in_session)
        cookies = {project_settings.SESSION_COOKIE_NAME: "abcdefgh"}
        assert call(count, cookies).content.decode() == f"1 on {project.primary.port}"


def test_so_it_is_in_asynchronous_code(project: Replication) -> None:
    async def write_later(_: HttpRequest) -> HttpResponse:
        await Customer.objects.acreate(name="Ada")
        return HttpResponse()

    async def main() -> HttpResponse:
        response: HttpResponse = await UnitOfWorkMiddleware(write_later)(
            AsyncRequestFactory().get("/")
        )
        return response

    assert COOKIE in async_to_sync(main)().cookies


@pytest.mark.parametrize("interval", [0, 30])
def test_a_replica_that_crashed_is_not_taken_to_be_where_it_was(
    project: Replication, interval: float
) -> None:
    replica, other = project.replicas
    other.kill()
    project.primary.psql("CHECKPOINT")
    replica.await_replayed()
    replica.psql("CHECKPOINT")  # It comes back with the tables.
    with override_settings(CONNMGR={"PROBE_INTERVAL": interval}):
        call(count)
        cookies = cookies_of(call(write))
        replica.await_replayed()
        assert call(count, cookies).content.decode() == f"1 on {replica.port}"
        replica.override("recovery_min_apply_delay", "1h")
        replica.kill()
        replica.start()
        assert call(count, cookies).content.decode() == f"1 on {project.primary.port}"


def test_without_a_pool_the_primary_shows_what_a_client_wrote(project: Replication) -> None:
    connections.settings[REPLICA]["OPTIONS"]["pool"] = False
    for replica in project.replicas:
        replica.pause_replay()
    cookies = cookies_of(call(write))
    assert call(count, cookies).content.decode() == f"1 on {project.primary.port}"
    connections[REPLICA].close()
    assert call(count).content.startswith(b"0 on")
    connections[REPLICA].close()
