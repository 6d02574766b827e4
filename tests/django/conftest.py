"""Fixtures for tests on real servers: fresh pools, and the server's own view of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from django_connmgr import pools
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.registry import registry
from testproject.cluster import Cluster, running_cluster

from .process import Python
from .server import Log, Server
from .threads import taken

Pool = ConnectionPool[Any]
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder has the test databases, and is not wrapped in a transaction."""
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("django_db") is None:
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))


PoolOf = Callable[..., Pool]


@pytest.fixture
def pool_of(django_db_setup: None, django_db_blocker: Any) -> Iterator[PoolOf]:
    """Makes the pool of an alias anew, with the options given. At the end all must be back."""
    originals: dict[str, Any] = {}

    def make(alias: str = "default", **options: object) -> Pool:
        settings = connections.settings[alias]
        originals.setdefault(alias, settings["OPTIONS"])
        settings["OPTIONS"] = {**settings["OPTIONS"], "pool": options}
        connections[alias].close()
        connections[alias].close_pool()
        return pools[alias]

    with django_db_blocker.unblock():
        yield make
        for alias, options in originals.items():
            connections[alias].close()
            leased = taken(pools[alias])
            connections[alias].close_pool()
            connections.settings[alias]["OPTIONS"] = options
            assert leased == 0, f"{alias}: {leased} connections did not come back"


@pytest.fixture
def pool(pool_of: PoolOf) -> Pool:
    """A new pool of four for the alias ``default``."""
    return pool_of(max_size=4)


@pytest.fixture
def server(pool_of: PoolOf, cluster: Cluster) -> Iterator[Server]:
    """The server's view of the test database."""
    with Server(cluster, connections["default"].settings_dict["NAME"]) as observer:
        yield observer


@pytest.fixture(scope="session")
def python(cluster: Cluster) -> Python:
    """Runs scripts in processes of their own, on the database that no other test uses."""
    run = Python(cluster)
    run("from django.core.management import call_command\ncall_command('migrate', verbosity=0)\n")
    return run


@pytest.fixture(scope="session")
def talkative_cluster() -> Iterator[Cluster]:
    """A server that writes down every statement, every connection and every end of one."""
    settings = {
        "log_statement": "all",
        "log_connections": "on",
        "log_disconnections": "on",
        "log_line_prefix": "'%p '",
    }
    with running_cluster(settings=settings) as running:
        Log(running, start=0).await_disconnections(1)  # Of ``CREATE DATABASE``.
        yield running


@pytest.fixture
def no_loop_left() -> Iterator[None]:
    """The thread of a loop ends with its executor, which tracebacks keep in a cycle."""
    yield
    gc.collect()


@pytest.fixture
def own_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """A server for a test that stops or freezes it."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def alias_of(pool_of: PoolOf) -> Iterator[Callable[..., str]]:
    """Adds an alias to ``DATABASES`` for the length of a test."""
    added: list[str] = []

    def add(server: Cluster | None = None, *, like: str = "default", **changes: Any) -> str:
        alias = f"added_{len(added)}"
        options = {"pool": {"max_size": 4}, **changes.pop("OPTIONS", {})}
        settings = {**connections.settings[like], "OPTIONS": options, **changes}
        if server is not None:
            settings.update(
                HOST=server.host,
                PORT=str(server.port),
                PASSWORD=server.password,
                NAME="connmgr",
            )
            settings.update(changes)
        connections.settings[alias] = settings
        added.append(alias)
        return alias

    yield add
    for alias in added:
        wrapper = connections[alias]
        wrapper.close()
        leased = [taken(pool) for pool in registry.all() if pool.name == alias]
        registry.close(alias)
        del connections[alias]
        del connections.settings[alias]
        assert not any(leased), f"{alias}: {leased} connections did not come back"
