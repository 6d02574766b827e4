"""What pools and idle connections take of Python's memory."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from typing import NamedTuple

from ..clients import Client, django_query, request
from ..contestants import PoolSettings
from ..project import databases, set_up
from ..scenario import Metric, Outcome, Scenario, Stage, at_most
from .spike import open_idle

_POOLS = _CONNECTIONS = 20
#: Seconds that connects in the background may take.
_SETTLING = 0.5


def _run(stage: Stage) -> Outcome:
    settings = PoolSettings(size=_CONNECTIONS + 1, min_size=1)
    set_up(databases(stage.contestant, stage.server, settings, 2 + _POOLS))
    client = Client(django_query(), request)
    tracemalloc.start()
    _use("other1")  # Allocates what is allocated only once.
    open_idle(client, 1)
    first = _usage()
    open_idle(client, _CONNECTIONS + 1)
    second = _usage()
    for number in range(2, 2 + _POOLS):
        _use(f"other{number}")
    third = _usage()
    connection = (second.memory - first.memory) / (second.connections - first.connections)
    opened = third.connections - second.connections  # Some pools open more than one.
    pool = (third.memory - second.memory - connection * opened) / _POOLS
    return Outcome({"connection": connection, "pool": pool})


def _use(alias: str) -> None:
    """Make the pool of this alias open one connection; the thread that used it has ended."""
    from django.db import connections

    def work() -> None:
        with request(), connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class _Usage(NamedTuple):
    memory: int
    connections: int


def _usage() -> _Usage:
    import psycopg

    time.sleep(_SETTLING)
    gc.collect()
    found = [each for each in gc.get_objects() if isinstance(each, psycopg.Connection)]
    connections = sum(not connection.closed for connection in found)
    del found
    return _Usage(tracemalloc.get_traced_memory()[0], connections)


SCENARIOS = (
    Scenario(
        name="memory",
        does="The memory that Python allocates for an idle connection in a pool, and for a pool "
        "without it. (The stacks of a pool's threads are not among it.)",
        contestants=("ours", "django-pool", "db-connection-pool"),
        metrics=(Metric("connection", "bytes"), Metric("pool", "bytes")),
        targets=(
            at_most(1.0, "connection", of="django-pool"),
            at_most(1.0, "pool", of="django-pool"),
        ),
        run=_run,
        rounds=3,
    ),
)
