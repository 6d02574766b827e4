"""``connmgr`` on a web server of several processes and on a worker of tasks, under load."""

from __future__ import annotations

import io
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
from testproject.cluster import Cluster, running_cluster
from tests.integrations.conftest import Worker, broker_url  # noqa: F401 - a fixture

from .launch import Kind, WebServer, _gunicorn, eventually, require, serving

require("gunicorn", "celery", "redis")

WORKERS = 4
FOUR = Kind("four", _gunicorn("--threads", "4", "--workers", str(WORKERS)), ("gunicorn",),
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


def test_an_exhausted_process_answers_and_is_freed_by_ending_a_lease(place: Path) -> None:
    kind = Kind("one", _gunicorn("--threads", "4"), ("gunicorn",), kill="operator ended its lease")
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
