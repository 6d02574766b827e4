"""The page of connections: for whom it is, what it does, and what odd answers do to it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.test import Client, RequestFactory, override_settings

from django_connmgr import lease_connection, release_connection, with_connection
from django_connmgr.inspection.client import Reply
from django_connmgr.inspection.web import views
from testproject.cluster import Cluster

from .conftest import Pool
from .process import Python

OPEN = {
    "PAGE_ACCESS": "testproject.access.is_local",
    "PAGE_STEERING": "testproject.access.is_local",
}


@pytest.fixture
def client(settings: Any) -> Client:
    settings.CONNMGR = {**settings.CONNMGR, **OPEN}
    return Client(enforce_csrf_checks=True)


def test_pools_leases_and_events_are_shown(client: Client, pool: Pool) -> None:
    with with_connection() as connection:
        connection.ensure_connection()
        pool.recycle()
        text = " ".join(client.get("/connmgr/").content.decode().split())
    assert "Connections of testproject" in text
    assert "<b>1 of 4</b>: 1 leased, 0 warm, 0 cold, 3 free" in text
    assert "<td>MainThread</td>" in text
    assert "<td>recycled</td>" in text
    assert "Suspend all" in text


def test_only_what_changes_is_sent_to_the_script(client: Client, pool: Pool) -> None:
    lease_connection()
    text = client.get("/connmgr/?part").content.decode()
    release_connection()
    assert text.startswith("<section")
    assert "<html" not in text


def test_nothing_is_inline_and_all_is_of_this_site(client: Client, pool: Pool) -> None:
    lease_connection()
    response = client.get("/connmgr/")
    release_connection()
    text = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?://", text) == []
    for address in re.findall(r'(?:src|href)="(/connmgr/static/[^"]+)"', text):
        asset = client.get(address)
        assert asset.status_code == 200
        assert "immutable" in asset["Cache-Control"]
    assert client.get("/connmgr/static/views.py").status_code == 404


def test_a_deed_is_confirmed_and_needs_a_token(client: Client, pool: Pool) -> None:
    lease_connection()
    release_connection()
    asked = client.get("/connmgr/do/?deed=recycle&alias=default")
    assert pool.stats().size == 1
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', asked.content.decode())[0]
    form = {"deed": "recycle", "alias": "default", "pid": ""}
    assert client.post("/connmgr/do/", form).status_code == 403
    assert pool.stats().size == 1
    done = client.post("/connmgr/do/", {**form, "csrfmiddlewaretoken": token})
    assert (done.status_code, done["Location"]) == (302, "/connmgr/")
    assert pool.stats().size == 0


def test_what_was_not_done_everywhere_is_told(client: Client, pool: Pool) -> None:
    lease_connection()
    asked = client.get("/connmgr/do/?deed=resume&pid=1")
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', asked.content.decode())[0]
    form = {"deed": "resume", "alias": "", "pid": "1", "csrfmiddlewaretoken": token}
    done = client.post("/connmgr/do/", form)
    release_connection()
    assert (done.status_code, b"No process answered." in done.content) == (502, True)


@pytest.mark.parametrize("query", ["deed=dance", "deed=recycle&pid=x", ""])
def test_there_are_no_other_deeds(client: Client, query: str) -> None:
    assert client.get(f"/connmgr/do/?{query}").status_code == 404


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"process": 7, "pools": 7, "events": 7, "leases": 7, "waiters": [7], "history": 7},
        {"pools": [{}], "events": [{}], "leases": [{}], "waiters": [{}], "process": {}},
        {"pools": [{"name": "<b>", "closed": 3, "max_size": "x", "leased": -1}]},
        {"pools": [{"name": "a"}], "history": {"a": [[1, 2], [1, "x", 2], [1, 1, 1], 5]}},
        {"events": [{"kind": "timeout", "at": "noon", "seconds": None}]},
    ],
)
def test_odd_answers_break_nothing(
    client: Client, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = [Reply(7, "testproject", answer), Reply(8, "testproject", error="It is <silent>.")]
    monkeypatch.setattr(views, "ask", lambda *_, **__: replies)
    response = client.get("/connmgr/")
    assert response.status_code == 200
    assert b"It is &lt;silent&gt;." in response.content
    assert b"<b></h4>" not in response.content


def request_of(**user: Any) -> Any:
    request = RequestFactory().get("/connmgr/")
    request.user = SimpleNamespace(is_active=True, **user)  # type: ignore[assignment]
    return request


@override_settings(CONNMGR={})
def test_without_users_or_a_function_it_says_what_is_missing() -> None:
    with pytest.raises(ImproperlyConfigured, match="set CONNMGR\\['PAGE_ACCESS'\\]"):
        views.page(RequestFactory().get("/connmgr/"))


@override_settings(CONNMGR={})
def test_it_is_for_staff_and_steering_for_superusers() -> None:
    anyone = request_of(is_authenticated=True, is_staff=False, is_superuser=False)
    with pytest.raises(PermissionDenied):
        views.page(anyone)
    staff = request_of(is_authenticated=True, is_staff=True, is_superuser=False)
    response = views.page(staff)
    assert response.status_code == 200
    assert b"Recycle" not in response.content
    with pytest.raises(PermissionDenied):
        views.confirm(staff)


def test_in_a_project_with_users_they_log_in_and_no_connection_is_held(
    python: Python, cluster: Cluster
) -> None:
    out = python(
        """
        import logging
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.test import Client

        logging.getLogger("django.request").disabled = True
        call_command("migrate", verbosity=0)
        User.objects.filter(username__in=["staff", "guest"]).delete()
        User.objects.create_user("staff", password="x", is_staff=True)
        User.objects.create_user("guest", password="x")
        pool = pools["default"]
        from django_connmgr.inspection.web import views
        held = []
        ask_processes = views.ask
        def spy(*args, **kwargs):
            held.append(taken(pool))
            return ask_processes(*args, **kwargs)
        views.ask = spy

        client = Client()
        print(client.get("/connmgr/").status_code, client.get("/connmgr/")["Location"])
        client.login(username="guest", password="x")
        print(client.get("/connmgr/").status_code)
        client.login(username="staff", password="x")
        print(client.get("/connmgr/").status_code)
        print(client.get("/connmgr/do/?deed=recycle").status_code)
        print(held)
        """,
        settings="tests.django.pagesettings",
        pool="max_size=2",
    )
    # It has no connection while it asks the processes.
    assert " ".join(out.split()) == "302 /accounts/login/?next=/connmgr/ 403 200 403 [0]"
