"""Tasks that use two databases, and hooks that do so after every task."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from django.db import connections, transaction

ALIASES = ("default", "replica")

app = Celery("tests", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    worker_prefetch_multiplier=0,  # Or it waits for a second whenever it has its fill.
)


def query(sql: str = "SELECT pg_backend_pid()") -> dict[str, int]:
    """Run it on every alias; returns which server process answered."""
    answers = {}
    for alias in ALIASES:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            answers[alias] = cursor.fetchone()[0]
    return answers


@signals.celeryd_after_setup.connect
def query_after_tasks(**kwargs: Any) -> None:
    """Connected last, so that it runs after every other receiver, Celery's own included."""
    from django_connmgr.signals import unit_finished

    signals.task_postrun.connect(note_hook, weak=False)
    signals.task_failure.connect(note_hook, weak=False)
    signals.task_revoked.connect(note_hook, weak=False)
    unit_finished.connect(note_unit, weak=False)


def note_hook(signal: Any, sender: Task, **kwargs: Any) -> None:
    if sender.name != report.name:
        note({"hook": signal.name, "task": sender.name, "answers": query()})


def note_unit(unit: Any, **kwargs: Any) -> None:
    """What this thread still has after the unit: leased, or warm for it."""
    mine = [
        wrapper.alias
        for wrapper in connections.all(initialized_only=True)
        if wrapper.connection is not None or is_warm(wrapper.borrower.warm)
    ]
    note({"unit": unit.name, "used": unit.counts, "kept": mine})


def is_warm(slot: Any) -> bool:
    owner = None if slot is None else slot.owner
    return owner is not None and owner.ident == threading.get_ident()


def note(what: dict[str, Any]) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(json.dumps({**what, "process": os.getpid()}) + "\n")


class Hooked(Task):
    def before_start(self, *args: Any) -> None:
        query()

    def on_success(self, *args: Any) -> None:
        note({"hook": "on_success", "task": self.name, "answers": query()})

    def on_failure(self, *args: Any) -> None:
        note({"hook": "on_failure", "task": self.name, "answers": query()})

    def on_retry(self, *args: Any) -> None:
        note({"hook": "on_retry", "task": self.name, "answers": query()})

    def after_return(self, *args: Any) -> None:
        note({"hook": "after_return", "task": self.name, "answers": query()})


@app.task
def ask(seconds: float = 0) -> dict[str, int]:
    return query(f"SELECT pg_backend_pid() FROM pg_sleep({float(seconds)})")


@app.task(base=Hooked)
def succeed() -> None:
    query()


@app.task
def never() -> None:
    """Expired before it is run."""


@app.task(base=Hooked)
def fail() -> None:
    query()
    raise ValueError("as it should")


@app.task(base=Hooked, bind=True, max_retries=1)
def retry(self: Task) -> None:
    query()
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(base=Hooked)
def last(seconds: float) -> None:
    """Take too long, in a query."""
    query()
    query(f"SELECT pg_sleep({float(seconds)})::text")


@app.task(base=Hooked)
def idle(seconds: float) -> None:
    """Take too long, with connections that are not in use."""
    query()
    time.sleep(seconds)


@app.task
def spawn_threads() -> None:
    query()
    threads = [threading.Thread(target=query) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@app.task
def call_in_place() -> list[object]:
    """A task within a task, and within its transaction; its callback too."""
    with transaction.atomic():
        before = query()["default"]
        inner = succeed.apply(link=succeed.si())
        return [
            inner.state,
            connections["default"].in_atomic_block,
            query()["default"] == before,
        ]


@app.task
def report() -> dict[str, Any]:
    """What the pools of this process have leased, or warm. Leases nothing."""
    from django_connmgr import pools

    numbers = {alias: pools[alias].stats() for alias in ALIASES}
    taken = {alias: stats.leased + stats.warm for alias, stats in numbers.items()}
    return {"process": os.getpid(), "pools": taken}
