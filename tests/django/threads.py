"""Threads that are joined, and whose errors are the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connections

from django_connmgr._pool.pool import ConnectionPool


def in_threads(count: int, function: Callable[[], Any], *, timeout: float = 30) -> list[Any]:
    """Run it in that many new threads at once; returns what they returned, in any order."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), "a thread did not end"
    if errors:
        raise errors[0]
    return results


def in_a_thread(function: Callable[[], Any]) -> Any:
    """Run it in a new thread, and return what it returned."""
    return in_threads(1, function)[0]


def taken(pool: ConnectionPool[Any]) -> int:
    """How many of its connections are leased, or warm for who used them last."""
    stats = pool.stats()
    return stats.leased + stats.warm


def ask(sql: str = "SELECT pg_backend_pid()", *, using: str = "default") -> Any:
    """The first value of the first row."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
