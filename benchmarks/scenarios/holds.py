"""What keeping a connection from being reclaimed costs a query.

A query begins a hold when its cursor is opened and ends it when the cursor is closed. The
same calls, without a query in between, are timed against an empty function. A lock taken
and let go of twice, with a deque's append and pop, tells how fast the machine is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..barepools import lock_and_deque
from ..load import cheapest
from ..project import set_up
from ..scenario import Metric, Outcome, Scenario, Stage, at_most


def _run(stage: Stage) -> Outcome:
    batches = int(stage.scaled(60))
    with tempfile.TemporaryDirectory() as directory:
        work = _hold(Path(directory)) if stage.contestant.is_ours else _lock_and_deque()
        seconds = cheapest(work, calls=5000, batches=batches)
        seconds -= cheapest(_do_nothing, calls=5000, batches=batches)
    return Outcome({"time": seconds * 1e6})


def _do_nothing() -> None:
    pass


def _hold(directory: Path) -> Callable[[], object]:
    name = str(directory / "db")
    set_up({"default": {"ENGINE": "django_connmgr.backends.sqlite3", "NAME": name}})
    # Later, because they need the settings.
    from django.db import connections

    from django_connmgr.backends.holding import CURSOR

    wrapper: Any = connections["default"]
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")

    def hold() -> None:
        wrapper.begin_hold(CURSOR)
        wrapper.end_hold(CURSOR)

    return hold


def _lock_and_deque() -> Callable[[], object]:
    pool = lock_and_deque(1)
    take, give = pool.take, pool.give

    def pair() -> None:
        give(take())

    return pair


SCENARIOS = (
    Scenario(
        name="holds",
        does="The bookkeeping of one query that keeps its connection from being reclaimed.",
        contestants=("ours", "lock+deque"),
        metrics=(Metric("time", "µs"),),
        targets=(at_most(1.0, "time"),),
        run=_run,
        needs_server=False,
    ),
)
