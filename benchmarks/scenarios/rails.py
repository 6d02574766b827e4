"""Rails' own comparison: a connection that is held, and one for each query."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..clients import Client, django_query, request
from ..contestants import PoolSettings
from ..load import all_at_once
from ..project import databases, set_up
from ..scenario import Metric, Outcome, Scenario, Stage
from ..server import VARIABLE
from .spike import open_idle

_ITERATIONS, _THREADS, _SIZE, _OTHER_WORK = 100, 16, 4, 0.01
_SCRIPT = Path(__file__).resolve().parent.parent / "active_record.rb"


def _run(stage: Stage) -> Outcome:
    iterations = int(stage.scaled(_ITERATIONS))
    if stage.contestant.gems:
        return _active_record(stage, iterations)
    set_up(databases(stage.contestant, stage.server, PoolSettings(size=_SIZE, timeout=60.0)))
    from testproject.shop.models import Customer

    block = _block_of(stage)
    open_idle(Client(django_query(), request), _SIZE)

    def held() -> None:
        with block():
            for _ in range(iterations):
                Customer.objects.count()
                time.sleep(_OTHER_WORK)

    def blocks() -> None:
        for _ in range(iterations):
            with block():
                Customer.objects.count()
            time.sleep(_OTHER_WORK)

    return Outcome(
        {
            "alone, held": _seconds(held, 1),
            "alone, blocks": _seconds(blocks, 1),
            "threads, held": _seconds(held, _THREADS),
            "threads, blocks": _seconds(blocks, _THREADS),
        }
    )


def _block_of(stage: Stage) -> Callable[[], AbstractContextManager[object]]:
    """A block that holds a connection: ours, or a request, whose end gives it back."""
    if stage.contestant.is_ours:
        from django_connmgr import with_connection

        return with_connection
    return request


def _seconds(work: Callable[[], object], threads: int) -> float:
    def turn() -> float:
        work()
        return 0.0

    began = time.perf_counter()
    all_at_once(threads, turn)
    return time.perf_counter() - began


def _active_record(stage: Stage, iterations: int) -> Outcome:
    done = subprocess.run(
        ["ruby", str(_SCRIPT), str(iterations), str(_THREADS), str(_SIZE)],
        env={**os.environ, VARIABLE: stage.server.as_text()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Outcome(json.loads(done.stdout))


SCENARIOS = (
    Scenario(
        name="rails",
        does="100 times a count and 10 ms of other work, with a connection held throughout and "
        "with a block around each count; on one thread, and on 16 with a pool of 4.",
        contestants=("ours", "django-pool", "active-record"),
        metrics=(
            Metric("threads, blocks", "s"),
            Metric("threads, held", "s"),
            Metric("alone, blocks", "s"),
            Metric("alone, held", "s"),
        ),
        run=_run,
        rounds=2,
    ),
)
