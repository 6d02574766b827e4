"""``manage.py demo`` works, and would say so if the pool did not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from testproject.cluster import Cluster
from testproject.demo.client import Client
from testproject.demo.database import Database, DemoError
from testproject.demo.engine import Engine
from testproject.demo.faults import FaultInjector
from testproject.demo.progress import Progress
from testproject.demo.result import Result, summarize
from testproject.demo.server import Server
from testproject.demo.table import render
from testproject.demo.traffic import Outcome
from testproject.demo.verdict import broken_promises

ROOT = Path(__file__).resolve().parents[2]
#: Connections of the serving processes.
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'shop-(pooled|stock)'"


def demo(*arguments: str, url: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    return subprocess.Popen(
        [sys.executable, "manage.py", "demo", *arguments],
        cwd=ROOT,
        env={**environment, "DATABASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=50)
    return process.returncode, out, err


def test_the_demonstration_succeeds_and_fits_the_terminal(cluster: Cluster) -> None:
    status, out, err = outcome_of(
        demo("--clients", "8", "--requests", "48", url=cluster.url),
    )
    assert (status, err) == (0, "")
    assert "Connections at most, server's count" in out
    assert out.endswith("The pool kept its promises.\n")
    assert max(map(len, out.splitlines())) < 80
    with Database(cluster.url).connect("test") as connection:
        assert connection.execute(COUNT).fetchone() == (0,)


def test_the_page_stays_open_until_enter_is_pressed(cluster: Cluster) -> None:
    process = demo("--clients", "4", "--requests", "8", "--page", url=cluster.url)
    assert process.stdout is not None
    assert process.stdin is not None
    (address,) = re.findall(r"http://\S+", process.stdout.readline())
    while "Press Enter" not in process.stdout.readline():
        assert process.poll() is None
    with urllib.request.urlopen(address) as answer:
        assert b"Connections of testproject" in answer.read()
    process.stdin.write("\n")
    process.stdin.flush()
    status, out, err = outcome_of(process)
    assert (status, err) == (0, "")
    assert out.endswith("The pool kept its promises.\n")


def test_an_interrupted_demonstration_leaves_nothing_behind(cluster: Cluster) -> None:
    process = demo("--requests", "4000", url=cluster.url)
    with Database(cluster.url).connect("test") as connection:
        while connection.execute(COUNT).fetchone() != (5,):  # The test's deadline bounds it.
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        message = "CommandError: Interrupted; everything is cleaned up.\n"
        assert outcome_of(process) == (130, "", message)
        while connection.execute(COUNT).fetchone() != (0,):
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///db.sqlite3", "The demonstration needs PostgreSQL."),
        ("nonsense", "DATABASE_URL is not a URL such as postgres://"),
        ("postgres://ada:sesame@127.0.0.1:1/shop", "Cannot connect to the database"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(url: str, words: str) -> None:
    status, out, err = outcome_of(demo(url=url))
    assert (status, out) == (1, "")
    assert words in err
    assert "sesame" not in err


def test_a_shop_that_cannot_be_served_says_why() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "no.such.settings"}
    with pytest.raises(DemoError, match="No module named 'no'"), Server(environment):
        pass


# The verdict


def result(**changes: Any) -> Result:
    pool = {"max_size": 5, "size": 5, "leased": 0, "warm": 0, "reaped": 3}
    pool |= {"wait_seconds": 1.0, "waits": 10, "checkouts": 200, "opened": 9}
    pool |= {"closed": {"unusable": 4}} | changes.pop("pool", {})
    values: dict[str, Any] = {
        "requests": 100,
        "interrupted": 2,
        "errors": {},
        "abandoned": 3,
        "killed": 4,
        "peak": 5,
        "latencies": [0.1] * 98,
        "seconds": 2.0,
        "pool": pool,
    }
    return Result(**values | changes)


def test_a_pool_that_kept_its_promises_has_broken_none() -> None:
    assert broken_promises(result(), requested=100) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"requests": 99}, "1 of 100 requests had no outcome."),
        ({"errors": {"pool-timeout": 2}}, "2 requests failed: pool-timeout."),
        (
            {"interrupted": 5},
            "5 requests lost their connection, but only 4 connections were killed.",
        ),
        ({"peak": 0}, "The server was never seen to have a connection: nothing was measured."),
        ({"peak": 6}, "The server counted 6 connections, and the limit is 5."),
        ({"pool": {"size": 6}}, "The pool counts 6 connections, and its limit is 5."),
        (
            {"pool": {"leased": 1}},
            "1 slots were lost: still leased or warm after the last request.",
        ),
    ],
)
def test_every_broken_promise_is_named(changes: dict[str, Any], sentence: str) -> None:
    assert broken_promises(result(**changes), requested=100) == [sentence]


def test_a_kill_excuses_only_requests_that_ran_meanwhile(cluster: Cluster) -> None:
    with Database(cluster.url).connect("test") as connection:
        injector = FaultInjector(connection, "no-such-application")
        injector._times = [(10.0, 10.1)]
    killed = "connection-killed"
    outcomes = [
        Outcome(Client.pay, 9.0, 10.0, killed),
        Outcome(Client.pay, 10.2, 11.0, killed),
        Outcome(Client.pay, 9.0, 11.0, "status 500"),
        Outcome(Client.ask_receipt, 8.0, 10.0),
    ]
    assert summarize(outcomes, injector, peak=5, pool={}) == Result(
        requests=4,
        interrupted=1,
        errors={killed: 1, "status 500": 1},
        abandoned=1,
        killed=0,
        peak=5,
        latencies=[2.0],
        seconds=3.0,
        pool={},
    )


# What is printed


def test_the_table_fits_eighty_columns() -> None:
    text = render(result(), result(errors={"server-full": 7, "status 500": 1}, pool={}))
    assert max(map(len, text.splitlines())) < 80
    assert "Latency p99                                        100 ms             100 ms" in text


def test_percentiles_of_nothing_are_not_a_number() -> None:
    assert str(result(latencies=[]).percentile(0.99)) == "nan"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_line_that_changes() -> None:
    terminal = Terminal()
    progress = Progress(OutputWrapper(terminal), "pool", 10)
    for done in (0, 0, 5):
        progress.show(done)
    progress.finish(1.5)
    *_, half, last = terminal.getvalue().split("\r")
    assert terminal.getvalue().count("\r") == 3
    assert half == f"{'pool':<15} [{'#' * 15}{'.' * 15}] 5 of 10 requests"
    assert last.rstrip() == f"{'pool':<15} 10 requests in 1.5 s"


def test_a_file_gets_one_line() -> None:
    out = StringIO()
    progress = Progress(OutputWrapper(out), "pool", 10)
    progress.show(5)
    progress.finish(1.5)
    assert out.getvalue() == f"{'pool':<15} 10 requests in 1.5 s\n"


def test_stock_django_never_gets_pool_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL", "max_size=9")
    pooled, stock = (engine.environment("postgres://x") for engine in Engine)
    assert (pooled["DATABASE_POOL"], "DATABASE_ENGINE" in pooled) == ("max_size=9", False)
    assert ("DATABASE_POOL" in stock, stock["PGAPPNAME"]) == (False, "shop-stock")
