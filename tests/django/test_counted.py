"""What the package adds to a request: calls and bytecodes, counted where time is too noisy."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import connections

from django_connmgr.units import current
from django_connmgr.units.requests import connect_receivers

AliasOf = Callable[..., str]
OURS = "django_connmgr"
REQUEST = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
#: Beyond Django with a connection that it keeps; 3.12 counts a few more than 3.13.
BYTECODES = 800 if sys.version_info >= (3, 13) else 835


@pytest.fixture(autouse=True)
def receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Django's own, as in servers: its test client moves those. No request was ASGI's yet."""
    monkeypatch.setattr(current, "_has_units", False)
    for signal in (request_started, request_finished):
        signal.disconnect(dispatch_uid=OURS)
    connect_receivers()


@pytest.fixture
def alias(alias_of: AliasOf) -> str:
    name = connections["default"].settings_dict["NAME"]
    return alias_of(NAME=name, OPTIONS={"pool": {"max_size": 2, "reap_interval": 0}})


@pytest.fixture
def stock(alias_of: AliasOf) -> Iterator[str]:
    """Django's own engine, with a connection that it keeps."""
    name = connections["default"].settings_dict["NAME"]
    alias = alias_of(
        ENGINE="django.db.backends.postgresql", CONN_MAX_AGE=None, OPTIONS={}, NAME=name
    )
    del connections.settings[alias]["OPTIONS"]["pool"]
    yield alias
    connections[alias].close()


def query(alias: str, sql: str = "SELECT 1") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchone()


def request(alias: str, sql: str = "SELECT 1") -> None:
    request_started.send(sender=None, environ=REQUEST)
    query(alias, sql)
    query(alias, sql)
    request_finished.send(sender=None)


def calls_of(work: Callable[[], object]) -> Counter[str]:
    """How often it calls functions of ours, by file."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _: object) -> None:
        _before, found, file = frame.f_code.co_filename.rpartition(f"/{OURS}/")
        if event == "call" and found:
            calls[file] += 1

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_the_first_query_of_a_request_makes_twelve_calls_through_six_files(alias: str) -> None:
    for _ in range(5):
        request(alias)
    request_started.send(sender=None, environ=REQUEST)
    calls = calls_of(lambda: query(alias))
    request_finished.send(sender=None)
    assert (calls.total(), len(calls)) == (12, 6), calls


def test_a_query_that_waits_and_is_waited_for_makes_twenty_calls(alias: str) -> None:
    """It is handed the one connection that there is, and hands it over."""
    connections[alias].settings_dict["OPTIONS"]["pool"]["max_size"] = 1
    pool = connections[alias].connection_pool
    calls: list[Counter[str]] = []
    may_end = threading.Event()

    def hold() -> None:
        with connections[alias].cursor() as cursor:
            assert may_end.wait(30)
            cursor.execute("SELECT 1")

    def counted() -> None:
        query(alias)  # So that the settings are known.
        connections[alias].close()
        ready.wait(30)
        started.wait(30)
        request_started.send(sender=None, environ=REQUEST)
        calls.append(calls_of(lambda: query(alias, "SELECT pg_sleep(0.2)")))
        request_finished.send(sender=None)

    def waiting() -> None:
        ready.wait(30)
        while pool.stats().waiting < 1:
            pass
        query(alias)

    ready, started = threading.Barrier(3), threading.Event()
    threads = [threading.Thread(target=work) for work in (counted, waiting)]
    for thread in threads:
        thread.start()
    ready.wait(30)
    holder = threading.Thread(target=hold)
    holder.start()
    while not pool.stats().leased:
        pass
    started.set()
    while pool.stats().waiting < 2:
        pass
    may_end.set()
    for thread in (*threads, holder):
        thread.join(30)
    assert calls[0].total() <= 20, calls


def bytecodes_of(work: Callable[[], object]) -> int:
    """Every instruction that this thread executes meanwhile; not what upkeep does, now and then."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    counts: Counter[CodeType] = Counter()
    here = threading.get_ident()

    def count(code: CodeType, _: int) -> None:
        if threading.get_ident() == here:
            counts[code] += 1

    monitoring.use_tool_id(4, OURS)
    try:
        monitoring.register_callback(4, monitoring.events.INSTRUCTION, count)
        monitoring.set_events(4, monitoring.events.INSTRUCTION)
        work()
    finally:
        monitoring.set_events(4, 0)
        monitoring.register_callback(4, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(4)
    return counts.total()


counts_bytecodes = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"
)


def ten_requests(alias: str) -> Callable[[], None]:
    for _ in range(20):
        request(alias)
    return lambda: [request(alias) for _ in range(10)] and None


@counts_bytecodes
def test_a_request_with_two_queries_costs_few_bytecodes(alias: str, stock: str) -> None:
    with_ours = bytecodes_of(ten_requests(alias))
    connections[alias].close()
    for signal in (request_started, request_finished):
        signal.disconnect(dispatch_uid=OURS)
    del connections[alias]
    with_stock = bytecodes_of(ten_requests(stock))
    connect_receivers()
    assert (with_ours - with_stock) / 10 <= BYTECODES
