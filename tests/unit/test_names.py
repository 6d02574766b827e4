"""The name by which the server knows a connection."""

from __future__ import annotations

import os
import socket

import pytest
from django.test import override_settings

pytest.importorskip("psycopg")

from django_connmgr.backends.postgresql.names import application_name, is_named_by_user


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1.example.com")
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    monkeypatch.delenv("PGAPPNAME", raising=False)


def test_it_says_project_host_process_and_alias() -> None:
    assert application_name("default") == "testproject:web-1:4711:default"


def test_the_project_may_be_named_in_the_settings() -> None:
    with override_settings(CONNMGR={"PROJECT": "shop"}):
        assert application_name("copies@b") == "shop:web-1:4711:copies@b"


@pytest.mark.parametrize("length", [40, 60, 100])
def test_what_is_too_long_is_cut_and_process_and_alias_stay(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * length)
    name = application_name("default")
    assert len(name) <= 63
    assert name.endswith(":4711:default")
    assert name.startswith("testproject:h")
    with override_settings(CONNMGR={"PROJECT": "p" * length}):
        name = application_name("default")
        assert len(name) == 63
        assert name.startswith("p" * min(length, 48) + ":h")
        assert name.endswith("h:4711:default")


def test_an_alias_that_is_too_long_is_cut_last() -> None:
    name = application_name("a" * 80)
    assert len(name) == 63
    assert name.startswith("t:w:4711:aaa")


def test_characters_that_the_server_would_replace_are_replaced() -> None:
    with override_settings(CONNMGR={"PROJECT": "shöp:a b"}):
        assert application_name("default").startswith("sh?p?a?b:")


@pytest.mark.parametrize(
    "params",
    [
        {"application_name": "mine"},
        {"service": "shop"},
        {"options": "-c search_path=x -c application_name=mine"},
        {"options": "-capplication_name=mine"},
    ],
)
def test_a_name_of_the_user_s_own_is_kept(params: dict[str, str]) -> None:
    assert is_named_by_user(params)
    assert not is_named_by_user({"options": "-c search_path=x"})


def test_a_name_in_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "mine")
    assert is_named_by_user({})
