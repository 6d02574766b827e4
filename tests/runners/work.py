"""What the tasks of every runner do, and what is noted about them.

They use two databases, and so do the hooks that each runner calls after a task.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connections

ALIASES = ("default", "second")

_noting = threading.Lock()


def query() -> dict[str, int]:
    """Ask on every alias which server process answers."""
    answers = {}
    for alias in ALIASES:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            answers[alias] = cursor.fetchone()[0]
    note({"answers": answers})
    return answers


# What is noted


def begin() -> None:
    """In a worker, before it forks: leave connections in its pools."""
    from django_connmgr import unit_of_work
    from django_connmgr.signals import unit_finished

    unit_finished.connect(note_unit, weak=False)
    with unit_of_work("begin"):
        query()


def note_unit(unit: Any, **kwargs: Any) -> None:
    """What is still leased after a unit: by this thread, and in all pools of this process."""
    from django_connmgr import pools

    with _noting:  # The last one to write has looked last.
        stats = {alias: pools[alias].stats() for alias in ALIASES}
        taken = {alias: numbers.leased + numbers.warm for alias, numbers in stats.items()}
        write({"ended": unit.name, "kept": list(kept_after(unit)), "taken": taken})


def kept_after(unit: Any) -> Iterator[str]:
    """Aliases that this thread has a connection of, but for those of other tasks.

    Async code of all tasks queries on one thread.
    """
    scopes: list[Any] = [None]
    while unit is not None:
        scopes.append(unit.scope)
        unit = unit.parent
    for wrapper in connections.all(initialized_only=True):
        lease, warm = wrapper.borrower.lease, wrapper.borrower.warm
        slot = warm if lease is None else lease.slot
        owner = None if slot is None else slot.owner
        if owner and owner.ident == threading.get_ident() and slot.scope in scopes:
            yield wrapper.alias


def hook(task: str) -> None:
    """Called by a runner after a task: query, and tell in which unit."""
    from django_connmgr.units.current import find_unit

    query()
    unit = find_unit()
    note({"hook": task.rpartition(".")[2], "inside": unit and unit.name})


def note(what: dict[str, Any]) -> None:
    with _noting:
        write(what)


def write(what: dict[str, Any]) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(json.dumps({**what, "process": os.getpid()}) + "\n")


# Tasks


def ask() -> None:
    query()


def succeed() -> None:
    query()


def fail() -> None:
    query()
    raise ValueError("as it should")


def retry() -> None:
    """Fail the first time."""
    query()
    attempted = Path(os.environ["NOTES"]).with_name("attempted")
    if not attempted.exists():
        attempted.touch()
        raise ValueError("as it should")


def spawn_threads() -> None:
    threads = [threading.Thread(target=query) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def last() -> None:
    """Take too long."""
    query()
    for _ in range(1000):
        time.sleep(0.01)


TASKS = (ask, succeed, fail, retry, spawn_threads, last)
