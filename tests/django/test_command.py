"""``manage.py``: ``connmgr`` and what other commands cost."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings

from django_connmgr import lease_connection, release_connection, unit_of_work, with_connection
from django_connmgr._pool.stats import PoolStats
from django_connmgr.exceptions import PoolError
from testproject.cluster import Cluster
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .process import ROOT, Python
from .server import Log, await_that
from .threads import ask


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def connmgr(*arguments: str) -> str:
    out = io.StringIO()
    call_command("connmgr", *arguments, stdout=out)
    return out.getvalue()


def lines_of(text: str) -> list[str]:
    """Each line, with one space between its words; no line is too long for a terminal."""
    assert max(map(len, text.splitlines())) <= 80
    return [" ".join(line.split()) for line in text.splitlines()]


def test_status_shows_every_pool_of_every_process(pool_of: PoolOf) -> None:
    for alias in ("default", "second"):
        pool_of(alias, max_size=3)
    lease_connection()
    head, *lines = lines_of(connmgr("status"))
    assert head == "pid process pool size warm cold leased waiting"
    assert f"{os.getpid()} pytest default 1 of 3 0 0 1 0" in lines
    assert f"{os.getpid()} pytest second 0 of 3 0 0 0 0" in lines
    assert lines_of(connmgr("status", "--alias", "second"))[1:] == [
        f"{os.getpid()} pytest second 0 of 3 0 0 0 0"
    ]


def test_status_tells_what_is_not_ordinary(pool: Pool) -> None:
    lease_connection()
    release_connection()
    pool.recycle()
    pool.suspend()
    notes = connmgr("status", "--alias", "default").splitlines()[3:]
    assert notes == [
        f"{os.getpid()} default: is suspended",
        f"{os.getpid()} default: opened: 1, closed: 1 recycled",
    ]


def test_status_as_json_has_every_number(pool: Pool) -> None:
    lease_connection()
    (process,) = json.loads(connmgr("status", "--json"))
    (numbers,) = [one for one in process["pools"] if one["name"] == "default"]
    assert {field.name for field in fields(PoolStats)} <= set(numbers)
    assert (process["pid"], numbers["leased"], numbers["closed"]) == (os.getpid(), 1, {})


def test_where_no_process_uses_a_pool_the_configured_ones_are_shown(
    pool_of: PoolOf, tmp_path: Path
) -> None:
    for alias in ("default", "second", "file"):
        pool_of(alias, max_size=3)
    with override_settings(CONNMGR={"RUNTIME_DIR": tmp_path}):
        told = lines_of(connmgr("status"))
    assert told[0].startswith("No process of project 'testproject' on this host has used a pool")
    assert told[-4:] == ["pool max_size", "default 3", "second 3", "file 3"]


def test_leases_are_shown_with_what_holds_them_and_where_they_are(pool: Pool) -> None:
    with unit_of_work("GET /slow/"), transaction.atomic():
        Customer.objects.count()
        (record,) = pool.leases()
        told = connmgr("leases", "--stacks")
    head, lease, unit, place, code = told.splitlines()
    assert head.split() == ["pid", "slot", "pool", "thread", "held", "idle", "backend"]
    assert lease.split()[:4] == [str(os.getpid()), str(record.slot), "default", "MainThread"]
    assert lease.split()[-1] == str(record.backend_pid)
    assert unit == "  GET /slow/, transaction"
    # In this file: what is deeper is a package's.
    assert place.startswith(f"  now at {__file__}:")
    assert place.endswith(" in connmgr")
    assert code.strip() == 'call_command("connmgr", *arguments, stdout=out)'


def test_without_leases_that_is_said(pool: Pool) -> None:
    lease_connection()
    release_connection()
    assert connmgr("leases") == "No connection is leased.\n"
    assert connmgr("waiters") == "No thread waits for a connection.\n"
    assert json.loads(connmgr("leases", "--json"))[0]["leases"] == []
    assert json.loads(connmgr("waiters", "--json"))[0]["waiters"] == []


def test_waiters_are_shown(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1)
    with with_connection() as connection:
        connection.ensure_connection()
        waiter = threading.Thread(target=ask, name="patient")
        waiter.start()
        await_that(lambda: pool.stats().waiting)
        head, line = lines_of(connmgr("waiters"))
        *_, place, code = connmgr("waiters", "--stacks").splitlines()
        assert "the first waiter has waited for" in connmgr("status")
    release_connection()
    waiter.join(30)
    assert head == "pid pool thread unit waited times out in"
    assert line.startswith(f"{os.getpid()} default patient ")
    assert place.endswith(" in ask")
    assert "connections[using].cursor()" in code


def test_pools_are_steered_by_name(pool: Pool) -> None:
    lease_connection()
    release_connection()
    mine = f"{os.getpid()}: done: default\n"
    assert connmgr("suspend", "--alias", "default", "--yes") == mine
    assert pool.stats().status == "suspended"
    assert connmgr("resume", "--alias", "default", "--yes") == mine
    assert connmgr("resize", "7", "--min-size", "1", "--alias", "default", "--yes") == mine
    assert (pool.stats().max_size, pool.stats().min_size) == (7, 1)
    assert connmgr("recycle", "--alias", "default", "--pid", str(os.getpid()), "--yes") == mine
    assert connmgr("drain", "--alias", "default", "--timeout", "5", "--yes") == mine
    assert pool.stats().size == 0


def test_a_deed_that_is_refused_says_why(pool: Pool) -> None:
    lease_connection()
    told = connmgr("resize", "many", "--alias", "default", "--yes")
    assert told.startswith(f"{os.getpid()}: resize() takes a whole number, 1 or more, or None")
    told = connmgr("drain", "--timeout", "0.01", "--alias", "default", "--yes")
    assert told == f"{os.getpid()}: not done: default\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["leases", "--alias", "nonsense"], "There is no alias 'nonsense'; there are: default"),
        (["recycle", "--alias", "nonsense", "--yes"], "There is no alias 'nonsense'"),
        (["recycle", "--alias", "default@x", "--yes"], "No process has such a pool"),
        (["kill-lease", "1", "1", "--yes"], "There is no process 1 that uses a pool"),
        (["kill-lease", "{pid}", "0", "--yes"], "Slot 0 of process {pid} is not leased"),
        (["recycle"], "There is no terminal to ask: give --yes to do it."),
    ],
)
def test_what_cannot_be_done_is_told(pool: Pool, arguments: list[str], words: str) -> None:
    lease_connection()
    pid = str(os.getpid())
    with pytest.raises(CommandError) as caught:
        connmgr(*(argument.format(pid=pid) for argument in arguments))
    assert words.format(pid=pid) in str(caught.value)


def test_each_deed_asks_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    lease_connection()
    asked: list[str] = []
    answers = ["n", "y"]

    def answer(question: str) -> str:
        asked.append(question)
        return answers[len(asked) - 1]

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(CommandError, match="Nothing was done"):
        connmgr("suspend", "--alias", "default")
    assert pool.stats().status == "open"
    connmgr("suspend", "--alias", "default")
    assert pool.stats().status == "suspended"
    question = f"Suspend the pool of 'default' in {os.getpid()} (pytest)? [y/N] "
    assert asked == [question, question]
    pool.resume()


def test_a_lease_is_ended_by_its_numbers(pool: Pool) -> None:
    with pytest.raises(PoolError, match="an operator ended its lease"), with_connection():
        ask()
        (record,) = pool.leases()
        told = connmgr("kill-lease", str(os.getpid()), str(record.slot), "--yes")
        assert told == f"{os.getpid()}: done: default\n"
        ask()


def test_watch_shows_the_same_again(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    lease_connection()
    connmgr("watch", "--count", "2", "--interval", "0")
    told = capsys.readouterr().out
    assert told.count("pid") == 2
    assert "s status  l leases  w waiters  space  q" in told


def test_watch_obeys_keys(python: Python) -> None:
    """On a terminal, with keys for another view and for the end."""
    read, write = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "manage.py", "connmgr", "watch", "--interval", "0.2"],
        cwd=ROOT, env={**python.environment(), "TERM": "xterm", "COLUMNS": "80"},
        stdin=write, stdout=write, stderr=write,
    ) as process:  # fmt: skip
        os.close(write)
        shown = b""

        def shows(words: bytes) -> bool:
            nonlocal shown
            shown += os.read(read, 4096)
            return words in shown

        await_that(lambda: shows(b"status  "))
        os.write(read, b"w")
        await_that(lambda: shows(b"waiters    s status"))
        os.write(read, b"q")
        assert process.wait(30) == 0
    os.close(read)


@pytest.mark.parametrize("arguments", [["nonsense"], []])
def test_a_wrong_subcommand_is_told_the_right_ones(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("connmgr", *arguments)
    assert "status" in str(caught.value)
    assert "kill-lease" in str(caught.value)


def test_status_in_a_process_of_its_own(python: Python) -> None:
    done = python.manage("connmgr", "status", pool="max_size=7", settings="tests.django.ownplace")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["default", "7"]


def test_a_check_opens_no_connection_and_starts_no_thread(
    python: Python, talkative_cluster: Cluster
) -> None:
    log = Log(talkative_cluster)
    out = python(
        """
        from django.core.management import call_command
        call_command("check")
        call_command("connmgr", "status")
        print(threading.active_count(), pools["default"].stats().opened)
        """,
        url=talkative_cluster.url,
    )
    assert out.splitlines()[-1] == "1 0"
    assert log.text() == ""


def test_a_command_with_one_query_opens_one_connection(
    python: Python, talkative_cluster: Cluster
) -> None:
    log = Log(talkative_cluster)
    done = python.manage(
        "shell", "--no-imports", "-c",
        "from django.db import connection; connection.cursor().execute('SELECT 1')",
        url=talkative_cluster.url,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    text = log.await_disconnections(1)
    assert text.count("connection authorized") == 1
    assert log.statements()[-1] == "SELECT 1"
    assert "unexpected EOF" not in text


def test_wrong_settings_are_told_without_a_traceback() -> None:
    with (
        override_settings(CONNMGR={"PROJEKT": "x"}),
        pytest.raises(CommandError, match="Did you mean 'PROJECT'"),
    ):
        connmgr("status")
