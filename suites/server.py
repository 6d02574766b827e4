"""What a suite runs on: a PostgreSQL server, or a directory for files of SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testproject.cluster import DATABASE, USER, Cluster, running_cluster

#: As many as PostgreSQL has unless it is told otherwise.
_SETTINGS = {"max_connections": "100", "full_page_writes": "off"}
_LEFTOVERS = r"SELECT datname FROM pg_database WHERE datname LIKE 'test\_%' ORDER BY datname"


@dataclass(frozen=True)
class Server:
    #: Its name and version.
    version: str
    #: ``DATABASES`` with the aliases ``default`` and ``other``, on Django's engine.
    databases: Mapping[str, Mapping[str, Any]]
    #: Drops the test databases that a run left behind, and names them: the next would fail.
    drop_leftovers: Callable[[], list[str]]


@contextlib.contextmanager
def _postgresql() -> Iterator[Server]:
    with running_cluster(settings=_SETTINGS) as cluster:
        common = {
            "ENGINE": "django.db.backends.postgresql",
            "USER": USER,
            "PASSWORD": cluster.password,
            "HOST": cluster.host,
            "PORT": str(cluster.port),
        }
        databases = {
            "default": {**common, "NAME": DATABASE},
            "other": {**common, "NAME": f"{DATABASE}_other"},
        }
        version = cluster.psql("SHOW server_version").split()[0]
        yield Server(f"PostgreSQL {version}", databases, lambda: _drop_leftovers(cluster))


def _drop_leftovers(cluster: Cluster) -> list[str]:
    left = cluster.psql(_LEFTOVERS).split()
    for name in left:
        cluster.psql(f'DROP DATABASE "{name}" WITH (FORCE)')
    return left


@contextlib.contextmanager
def _sqlite() -> Iterator[Server]:
    """Files, because a database in memory is not pooled; in memory as a file, where that is."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        directory = Path(name)

        def drop_leftovers() -> list[str]:
            left = sorted(directory.glob("test_*.sqlite3"))
            for file in directory.iterdir():
                file.unlink()
            return [file.name for file in left]

        databases = {
            alias: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(directory / f"{alias}.sqlite3"),
                "TEST": {"NAME": str(directory / f"test_{alias}.sqlite3")},
            }
            for alias in ("default", "other")
        }
        yield Server(f"SQLite {sqlite3.sqlite_version}", databases, drop_leftovers)


#: By the names of Django's engines.
SERVERS = {"postgresql": _postgresql, "sqlite3": _sqlite}
