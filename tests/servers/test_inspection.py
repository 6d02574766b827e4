"""``connmgr`` on a web server of several processes and on a worker of tasks, under load."""

from __future__ import annotations

import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.core.management import call_command
from django.test import override_settings

from django_connmgr.inspection.client import Reply, ask
from django_connmgr.inspection.directory import find_sockets
from testproject.cluster import Cluster, running_cluster
from tests.integrations.conftest import Worker, broker_url  # noqa: F401 - a fixture

from .launch import Kind, WebServer, eventually, gunicorn, require, serving

require("gunicorn", "celery", "redis")

WORKERS = 4
FOUR = Kind("four", gunicorn("--threads", "4", "--workers", str(WORKERS)), ("gunicorn",),
            workers=WORKERS, is_graceful=True)  # fmt: skip
#: How long all of them may take to answer, in seconds.
AT_ONCE = 0.2


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the sockets are, whose paths have to be short."""
    with TemporaryDirectory(prefix="cm-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", name)  # For the processes; this one looks nowhere else.
        with override_settings(CONNMGR={"RUNTIME_DIR": name}):
            yield Path(name)


@pytest.fixture(scope="module")
def server(cluster: Cluster, place: Path) -> Iterator[WebServer]:
    with serving(cluster, FOUR, max_size=2) as running:
        yield running


@pytest.fixture(scope="module")
def worker(
    cluster: Cluster,
    broker_url: str,  # noqa: F811
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    made = Worker("threads", 2, cluster, broker_url, tmp_path_factory.mktemp("worker"))
    try:
        yield made
    finally:
        made.stop()


def connmgr(*arguments: str) -> str:
    out = io.StringIO()
    call_command("connmgr", *arguments, stdout=out)
    return out.getvalue()


class Load:
    """Calls something again and again, on threads, for the length of a block."""

    def __init__(self, *calls: Callable[[], object]) -> None:
        self._is_over = threading.Event()
        self._executor = ThreadPoolExecutor(len(calls))
        self._calls = [self._executor.submit(self._repeat, call) for call in calls]

    def _repeat(self, call: Callable[[], object]) -> None:
        while not self._is_over.is_set():
            with suppress(OSError):
                call()

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        self._executor.shutdown()


def roles(replies: list[Reply]) -> list[str]:
    return sorted(reply.answer["process"]["role"] for reply in replies)


def size(replies: list[Reply], role: str) -> int:
    return sum(
        pool["size"]
        for reply in replies
        if reply.answer["process"]["role"] == role
        for pool in reply.answer["pools"]
    )


def test_every_process_answers_at_once_and_the_numbers_add_up(
    server: WebServer, worker: Worker
) -> None:
    everyone = ["celery worker", *["gunicorn worker"] * WORKERS]
    calls = [lambda: server.get("work/?seconds=0.01")] * 12
    with Load(*calls, lambda: worker.run("ask")):
        assert eventually(lambda: roles(ask("status", all_projects=True)) == everyone)
        began = time.monotonic()
        replies = ask("status", all_projects=True)
        took = time.monotonic() - began
        assert (roles(replies), [reply.error for reply in replies]) == (everyone, [""] * 5)
    assert took < AT_ONCE
    server.settled()
    replies = ask("status", all_projects=True)
    assert size(replies, "gunicorn worker") == server.account.count() > 0
    table = connmgr("status", "--all-projects")
    assert table.count("gunicorn worker") == WORKERS
    assert "celery worker" in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_view_that_sleeps_in_a_transaction_is_named_with_its_line(server: WebServer) -> None:
    with Load(lambda: server.get("sleep_in_transaction/?seconds=1")):
        assert eventually(lambda: "sleep_in_transaction" in connmgr("leases", "--all-projects"))
        told = connmgr("leases", "--all-projects", "--stacks")
    (index,) = [n for n, line in enumerate(told.splitlines()) if "GET /sleep_in_tr" in line]
    lease, unit, place, code = told.splitlines()[index - 1 : index + 3]
    assert "ThreadPoolExecutor" in lease
    assert unit == "  GET /sleep_in_transaction/, transaction"
    assert place.startswith("  now at ")
    assert place.endswith(" in sleep_in_transaction")
    assert code.strip() == 'time.sleep(float(request.GET.get("seconds", "2")))'


def test_a_thousand_hostile_requests_do_not_trouble_a_server(
    server: WebServer, place: Path
) -> None:
    """Malformed, oversized and truncated ones, while it serves: no error, and no more memory."""
    attacks = [b"\xff\x00\n", b"x" * 10_000, b'{"command": "status"', b"[" * 3000 + b"\n", b""]

    def attack(path: str, number: int) -> None:
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.connect(path)
            line.sendall(attacks[number % len(attacks)])
            if number % 7 == 0:
                line.settimeout(0.01)
                line.recv(100)

    def memory() -> int:
        """Of all workers, in KiB."""
        pids = [reply.pid for reply in ask("status", all_projects=True)]
        lines = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return sum(int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) for text in lines)

    paths = [str(found.path) for found in find_sockets()]
    with Load(*[lambda: assert_served(server)] * 4):
        for number in range(200):
            attack(paths[number % len(paths)], number)
        before = memory()
        for number in range(1000):
            attack(paths[number % len(paths)], number)
        assert eventually(lambda: not any(one.error for one in ask("status", all_projects=True)))
        after = memory()
    assert after - before < 8 * 1024
    server.settled()


def assert_served(server: WebServer) -> None:
    assert server.get("query/").status == 200


def test_a_worker_is_warm_before_its_first_request_and_drained_at_its_end(
    cluster: Cluster, place: Path
) -> None:
    config = str(Path(__file__).parent / "project" / "gunicorn_hooks.py")
    kind = Kind("warmed", gunicorn("--threads", "4", "--config", config), ("gunicorn",),
                is_graceful=True)  # fmt: skip
    with serving(cluster, kind, max_size=3, pool={"min_size": 2}) as server:
        # ``stats/`` uses no database.
        assert server.account.count() == 2
        assert server.stats()["checkouts"] == 0
        with ThreadPoolExecutor(1) as executor:
            reply = executor.submit(server.get, "busy/?seconds=1")
            assert eventually(lambda: server.account.is_running("SELECT pg_sleep"))
            server.stop()
        assert reply.result().status == 200


def test_an_exhausted_process_answers_and_is_freed_by_ending_a_lease(place: Path) -> None:
    kind = Kind("one", gunicorn("--threads", "4"), ("gunicorn",), kill="operator ended its lease")
    pool = {"timeout": 30}
    with (
        running_cluster() as cluster,  # Of its own: it writes about the session that was cut off.
        serving(cluster, kind, max_size=1, pool=pool, trouble="operator ended its lease") as server,
        ThreadPoolExecutor(2) as executor,
    ):
        holder = executor.submit(server.get, "sleep_in_transaction/?seconds=3")
        assert eventually(lambda: "transaction" in connmgr("leases", "--all-projects"))
        waiter = executor.submit(server.get, "query/")
        assert eventually(lambda: "GET /query/" in connmgr("waiters", "--all-projects"))
        assert not holder.done()
        (lease,) = (
            one
            for reply in ask("leases", all_projects=True)
            for one in reply.answer["leases"]
            if "sleep" in one["unit"]
        )
        (pid,) = (one.pid for one in ask("leases", all_projects=True) if one.answer["leases"])
        assert "done: default" in connmgr("kill-lease", str(pid), str(lease["slot"]), "--yes")
        assert waiter.result().status == 200
        assert not holder.done()  # The waiter did not wait for that.
        assert holder.result().status == 500
        assert server.get("query/").status == 200
