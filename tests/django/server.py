"""What the server itself says: about connections, and in its log."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from testproject.cluster import Cluster


def observe(cluster: Cluster) -> psycopg.Connection[Any]:
    """A connection to the server that no pool knows of."""
    return psycopg.connect(
        host=cluster.host,
        port=cluster.port,
        user="connmgr",
        password=cluster.password,
        dbname="postgres",
        autocommit=True,
    )


class Server:
    """One database, as the server sees it."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self.cluster = cluster
        self.database = database
        self._connection = observe(cluster)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(self, sql: str, *params: object) -> list[Any]:
        return [row[0] for row in self._connection.execute(sql, params).fetchall()]

    def backends(self) -> set[int]:
        """Process ids of all that serve the database."""
        return set(self.ask("SELECT pid FROM pg_stat_activity WHERE datname = %s", self.database))

    def count(self) -> int:
        return len(self.backends())

    def kill(self, pids: set[int] | None = None) -> None:
        """End backends (default: all of the database), and wait until they are gone."""
        doomed = list(self.backends() if pids is None else pids)
        self.ask("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", doomed)
        living = "SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)"
        await_that(lambda: not self.ask(living, doomed), f"the end of {doomed}")

    def is_running(self, words: str) -> bool:
        """Whether a query with these words in it is being executed."""
        return bool(
            self.ask(
                "SELECT 1 FROM pg_stat_activity "
                "WHERE datname = %s AND state = 'active' AND query LIKE %s",
                self.database,
                f"%{words}%",
            )
        )


class Sampler:
    """Counts a database's connections, again and again, from a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.most = 0
        self.samples = 0
        self._server = Server(server.cluster, server.database)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._server:
            pass

    def _run(self) -> None:
        while not self._stop.is_set():
            self._sample()
        self._sample()

    def _sample(self) -> None:
        self.most = max(self.most, self._server.count())
        self.samples += 1


def await_that(condition: Callable[[], object], what: str = "", timeout: float = 10) -> None:
    """Poll until the condition holds: for what only the server knows."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"it never came to pass: {what or condition}"
        time.sleep(0.01)


class Log:
    """What a server has written since this object was made, or since ``start``."""

    def __init__(self, cluster: Cluster, start: int | None = None) -> None:
        self._path: Path = cluster.log
        self._start = self._path.stat().st_size if start is None else start

    def text(self) -> str:
        with self._path.open() as file:
            file.seek(self._start)
            return file.read()

    def statements(self) -> list[str]:
        """Every message with SQL in it."""
        pattern = r"^\d+ LOG:  (?:statement|execute \S+): (.*)$"
        return re.findall(pattern, self.text(), re.MULTILINE)

    def await_disconnections(self, count: int) -> str:
        await_that(lambda: self.text().count("disconnection:") >= count, "disconnections")
        return self.text()
