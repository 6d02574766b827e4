"""Fixtures for every test: the server, and proof that nothing was left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from django_connmgr._pool.logs import moderation
from testproject.cluster import Cluster, ServerMissing, running_cluster

from . import recording  # noqa: F401 - keeps processes from being recorded unasked


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of our own, with few connections to give."""
    try:
        with running_cluster(settings={"max_connections": "30"}) as running:
            yield running
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Point the aliases of the test settings to the server, before test databases are made."""
    for alias in ("default", "second"):
        connections.settings[alias].update(
            HOST=cluster.host, PORT=str(cluster.port), PASSWORD=cluster.password
        )
    directory: Path = tmp_path_factory.mktemp("sqlite")
    connections.settings["file"]["TEST"]["NAME"] = str(directory / "test.sqlite3")


@pytest.fixture(autouse=True)
def log_without_a_past() -> None:
    """What one test logged is not counted against the next."""
    moderation.forget()


#: Threads of the package that go on as long as there may be something for them to do.
BACKGROUND = {"django-connmgr-deadlines", "django-connmgr-monitor", "django-connmgr-reaper"}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Every thread that a test starts ends with it; only those of the background may stay."""
    before = set(threading.enumerate())
    yield
    if set(threading.enumerate()) - before:
        gc.collect()  # asgiref's executors end their threads when they are collected.
    for thread in set(threading.enumerate()) - before:
        if thread.name not in BACKGROUND:
            thread.join(5)
            assert not thread.is_alive(), f"{thread} was left running"
