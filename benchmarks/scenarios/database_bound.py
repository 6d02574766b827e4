"""Requests of one query each, and nothing else."""

from __future__ import annotations

import time

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import distribution, keep_busy
from ..placement import Placement
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least, at_most

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
            at_least(1.0, "queries", of="django-pool", placement=Placement.FREE),
            at_least(1.0, "fewest to fair", of="django-pool", placement=Placement.FREE),
            at_most(1.0, "longest", of="django-pool", placement=Placement.FREE),
            at_least(1.2, "queries", of="real-pool", placement=Placement.PINNED),
        ),
        run=_run,
        placements=(Placement.FREE, Placement.PINNED),
    ),
)
