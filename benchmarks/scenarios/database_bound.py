"""Requests of one query each, and nothing else."""

from __future__ import annotations

import time

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import distribution, keep_busy
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least

_THREADS, _SIZE = 32, 4


def _run(stage: Stage) -> Outcome:
    client = make_client(stage, PoolSettings(size=_SIZE))

    def turn() -> float:
        asked = time.perf_counter()
        with client.request():
            client.query()
        return time.perf_counter() - asked

    load = keep_busy(_THREADS, stage.scaled(2.0), turn)
    return Outcome(
        {
            "queries": load.per_second,
            "fewest to fair": load.fewest_to_fair,
            "longest": 1000 * max(load.waits),
        },
        distribution(load.waits),
    )


SCENARIOS = (
    Scenario(
        name="database-bound",
        does="32 threads, each with one request of one query after the other. Pools of 4; Django "
        "without a pool and the bare driver have 32 connections; behind the gate, 4 threads at a "
        "time make a query, each on a connection of its own: a pool that costs nothing.",
        contestants=(
            "ours",
            "ours-transaction",
            "stock-persistent",
            "gated",
            "django-pool",
            "real-pool",
            "db-connection-pool",
            "bare",
        ),
        metrics=(
            Metric("queries", "per second", Better.MORE),
            Metric("fewest to fair", "", Better.MORE),
            Metric("longest", "ms"),
        ),
        targets=(
            at_least(1.2, "queries", of="django-pool"),
            at_least(1.2, "queries", of="real-pool"),
            at_least(0.9, "queries", of="stock-persistent"),
        ),
        run=_run,
    ),
)
