"""Many processes read from the same servers: each of them keeps to its bounds, as servers count."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from django_connmgr.backends.postgresql.base import PROBE_NAME
from testproject.cluster import DATABASE, ServerMissing
from testproject.member import Member
from testproject.replication import Replication, running_replication
from testproject.shop.models import Customer
from testproject.waiting import until

from .conftest import INTERVAL, REPLICA, make_tables

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 8
#: Connections of a process to each server.
MOST = 2
#: How many times each process reads before it is taken to have gone on.
READS = 20
#: The ``application_name`` of what is pooled, by alias.
NAMES = {"default": "connmgr-writes", REPLICA: "connmgr-reads"}


class Process:
    """One that reads; see ``reading.py``."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - see kill()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.replicas.reading"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._say(json.dumps(given))

    def report(self) -> dict[str, Any]:
        self._say("report")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended: {self.stderr()}"
        report: dict[str, Any] = json.loads(line)
        assert report["errors"] == [], report["errors"][0]
        return report

    def reads(self, server: Member | None = None) -> int:
        """How many times it has read, from one server or from any."""
        reads: dict[str, int] = self.report()["reads"]
        return sum(reads.values()) if server is None else reads.get(str(server.port), 0)

    def stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()

    def end(self) -> int:
        """Have it end by itself; returns its status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(20)

    def kill(self) -> None:
        self._process.kill()
        with self._process:  # Waits for it and closes the pipes.
            pass
        self._stderr.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


class Census(threading.Thread):
    """Counts the connections to each server again and again, also while one is away."""

    def __init__(self, servers: list[Member]) -> None:
        super().__init__(name="census")
        self._sessions: dict[Member, psycopg.Connection[Any] | None] = dict.fromkeys(servers)
        self._is_over = threading.Event()
        #: The most at one time, by server and ``application_name``.
        self.most: Counter[tuple[str, str]] = Counter()
        #: How many times each server was asked.
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        try:
            while not self._is_over.is_set():
                for server in self._sessions:
                    self._count(server)
        finally:
            for session in self._sessions.values():
                if session is not None:
                    session.close()

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def _count(self, server: Member) -> None:
        sql = (
            "SELECT application_name, count(*) FROM pg_stat_activity "
            "WHERE application_name LIKE 'connmgr-%' GROUP BY 1"
        )
        try:
            session = self._sessions[server]
            if session is None:
                session = self._sessions[server] = server.connect(DATABASE)
            rows = session.execute(sql).fetchall()
        except psycopg.OperationalError:
            session, self._sessions[server] = self._sessions[server], None
            if session is not None:
                session.close()
            return
        self.counts[server.name] += 1
        for name, number in rows:
            self.most[server.name, name] = max(self.most[server.name, name], number)


@pytest.fixture(scope="module")
def replication() -> Iterator[Replication]:
    """Servers that admit all that there might be without bounds, to be counted."""
    try:
        with running_replication(settings={"max_connections": "200"}) as running:
            yield running
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tables(replication: Replication, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        make_tables(replication)


@pytest.fixture
def processes(project: Replication) -> Iterator[list[Process]]:
    """Those that read from any of the servers; none is left when the test ends."""
    Customer.objects.create(name="Ada")
    project.await_replayed()
    connections["default"].close()
    for alias, name in NAMES.items():
        connections.settings[alias]["OPTIONS"]["application_name"] = name
        assert connections.settings[alias]["OPTIONS"]["pool"]["max_size"] == MOST
    used = {alias: connections.settings[alias] for alias in NAMES}
    given = {
        "alias": REPLICA,
        "settings": {"DATABASES": used, "CONNMGR": {"PROBE_INTERVAL": INTERVAL}},
    }
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(PROCESSES):
            started.append(Process(given))
            stack.callback(started[-1].kill)
        yield started


@pytest.fixture
def census(project: Replication) -> Iterator[Census]:
    counter = Census(project.servers)
    counter.start()
    yield counter
    counter.end()


def await_reads(processes: list[Process], server: Member | None, why: str) -> None:
    """Until each process has read so many more times."""
    goals = {process: process.reads(server) + READS for process in processes}

    def is_reached() -> bool:
        for process in list(goals):
            if process.reads(server) >= goals[process]:
                del goals[process]
        return not goals

    until(is_reached, lambda: f"all processes read {why}; {len(goals)} do not", timeout=30)


def test_processes_keep_to_their_bounds_through_the_death_of_a_replica(
    project: Replication, processes: list[Process], census: Census
) -> None:
    for server in project.replicas:
        await_reads(processes, server, f"from {server.name}")
    replica = project.replicas[0]
    replica.kill()
    await_reads(processes, None, "without it")
    replica.start()
    await_reads(processes, replica, "from it again")
    census.end()
    assert [process.report()["writes"] > 0 for process in processes] == [True] * PROCESSES
    assert [process.end() for process in processes] == [0] * PROCESSES
    sys.stdout.write(f"{census.most} {census.counts}\n")
    for server in project.servers:
        assert census.counts[server.name] > 100, census.counts
        assert 0 < census.most[server.name, PROBE_NAME] <= PROCESSES, census.most
    for name in NAMES.values():
        for server in project.servers:
            assert census.most[server.name, name] <= PROCESSES * MOST, census.most
    for server in project.replicas:
        assert census.most[server.name, NAMES[REPLICA]] == PROCESSES * MOST, census.most
    assert census.most[project.primary.name, NAMES["default"]] > 0, census.most
