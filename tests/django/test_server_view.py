"""``manage.py connmgr server``, and the names by which the server knows connections."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from django_connmgr import unit_of_work, with_connection

from .conftest import PoolOf
from .process import Python
from .server import Server
from .threads import ask

NAME = "SELECT current_setting('application_name')"


def connmgr_server(*arguments: str) -> str:
    out = io.StringIO()
    call_command("connmgr", "server", *arguments, stdout=out)
    # But for paths, which are as long as they are.
    lines = [line for line in out.getvalue().splitlines() if " at /" not in line]
    assert "--json" in arguments or max(map(len, lines)) <= 80
    return out.getvalue()


def own_name(alias: str = "default") -> str:
    return f"testproject:{socket.gethostname().partition('.')[0]}:{os.getpid()}:{alias}"[:63]


def test_connections_are_named(pool_of: PoolOf) -> None:
    pool_of(max_size=1, reset="session")
    assert ask(NAME) == own_name()
    with connections["default"].cursor() as cursor:
        cursor.execute("SET application_name = 'other'")
    connections["default"].close()
    assert ask(NAME) == own_name()  # Also after ``DISCARD ALL``.


def test_a_name_of_the_user_s_own_is_kept(alias_of: Callable[..., str]) -> None:
    name = connections["default"].settings_dict["NAME"]
    alias = alias_of(NAME=name, OPTIONS={"application_name": "mine"})
    assert ask(NAME, using=alias) == "mine"


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_forked_process_has_a_name_of_its_own(python: Python, driver: str) -> None:
    out = python(
        """
        name = "SELECT current_setting('application_name')"
        print(ask(name) == ask(name) and str(os.getpid()) in ask(name), flush=True)
        if not (pid := os.fork()):
            print(str(os.getpid()) in ask(name), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        """,
        driver=driver,
    )
    assert out.split() == ["True", "True"]


def test_sessions_are_grouped_against_the_limits(pool_of: PoolOf, server: Server) -> None:
    pool_of(max_size=2)
    with with_connection() as connection:
        connection.ensure_connection()
        told = connmgr_server()
    head, *lines = told.splitlines()
    assert head.split() == ["application", "host", "state", "count", "oldest"]
    assert any("unknown" in line or "testproject" in line for line in lines)
    assert "of 27 connections are in use (30 less 3 reserved)." in told


def test_an_idle_transaction_is_shown_with_the_line_that_sits_in_it(pool_of: PoolOf) -> None:
    pool_of(max_size=2)
    sits, may_end = threading.Event(), threading.Event()

    def sit() -> None:
        with unit_of_work("GET /slow/"), transaction.atomic():
            ask()
            sits.set()
            may_end.wait(30)

    thread = threading.Thread(target=sit, name="sitter")
    thread.start()
    assert sits.wait(30)
    time.sleep(0.01)
    try:
        told = connmgr_server()
        as_json = json.loads(connmgr_server("--json"))
    finally:
        may_end.set()
        thread.join(30)
    assert "sits in a transaction of" in told
    assert f"  process {os.getpid()}, thread sitter, GET /slow/" in told
    assert f"  now at {__file__}:" in told
    assert "    may_end.wait(30)" in told
    assert as_json["idle_transactions"][0]["lease"]["owner"] == "sitter"
    assert "query" not in as_json["sessions"][0]


def test_a_role_that_may_not_see_others_is_told_what_to_grant(
    pool_of: PoolOf, server: Server, alias_of: Callable[..., str]
) -> None:
    pool_of(max_size=2)
    server._connection.execute("CREATE ROLE blind LOGIN PASSWORD 'x'")
    name = connections["default"].settings_dict["NAME"]
    alias = alias_of(USER="blind", PASSWORD="x", NAME=name)
    with with_connection() as connection:
        connection.ensure_connection()
        told = connmgr_server("--alias", alias)
    connections[alias].close()
    connections[alias].close_pool()  # type: ignore[attr-defined]
    server._connection.execute("DROP ROLE blind")
    assert "GRANT pg_read_all_stats" in " ".join(told.split())


@pytest.mark.parametrize(
    ("alias", "words"),
    [("nonsense", "There is no alias 'nonsense'"), ("file", "'file' is SQLite; PostgreSQL shows")],
)
def test_what_has_no_sessions_is_told(pool_of: PoolOf, alias: str, words: str) -> None:
    pool_of("file")
    with pytest.raises(CommandError, match=words):
        connmgr_server("--alias", alias)


def test_a_server_that_is_down_is_told(alias_of: Callable[..., str]) -> None:
    alias = alias_of(HOST="127.0.0.1", PORT="1", PASSWORD="hunter2")
    with pytest.raises(CommandError, match="The server cannot be asked") as caught:
        connmgr_server("--alias", alias)
    assert "hunter2" not in str(caught.value)
