"""Requests that use the database for a small part of their time."""

from __future__ import annotations

import time

from ..clients import Client, make_client
from ..contestants import PoolSettings
from ..load import Load, distribution, keep_busy
from ..scenario import Better, Metric, Outcome, Scenario, Stage, Target, at_least

_THREADS, _SIZE, _OTHER_WORK = 64, 4, 0.01


def serve(client: Client, threads: int, seconds: float) -> Load:
    """Threads that each handle one request after the other."""

    def turn() -> float:
        with client.request():
            asked = time.perf_counter()
            client.query()
            waited = time.perf_counter() - asked
            time.sleep(_OTHER_WORK)
            client.query()
        return waited

    return keep_busy(threads, seconds, turn)


def run(stage: Stage) -> Outcome:
    load = serve(make_client(stage, PoolSettings(size=_SIZE)), _THREADS, stage.scaled(2.0))
    return Outcome(
        {
            "requests": load.per_second,
            "fewest to fair": load.fewest_to_fair,
            "worst wait": 1000 * max(load.waits),
        },
        distribution(load.waits),
    )


def _run_with_more_and_more(stage: Stage) -> Outcome:
    client = make_client(stage, PoolSettings(size=_SIZE))
    curve = [
        (float(threads), serve(client, threads, stage.scaled(0.6)).per_second)
        for threads in (1, 2, 4, 8, 16, 32, 64)
    ]
    return Outcome({"requests": curve[-1][1]}, {"throughput": curve})


def _targets() -> tuple[Target, ...]:
    return tuple(
        at_least(bound, "requests", of=peer, ours=ours)
        for ours in ("ours", "ours-transaction")
        for bound, peer in ((0.95, "stock-persistent"), (4.0, "django-pool"), (1.3, "real-pool"))
    )


REQUESTS = Metric("requests", "per second", Better.MORE)
METRICS = (REQUESTS, Metric("fewest to fair", "", Better.MORE), Metric("worst wait", "ms"))
_CONTESTANTS = (
    "ours",
    "ours-transaction",
    "stock",
    "stock-persistent",
    "gated",
    "django-pool",
    "real-pool",
    "db-connection-pool",
    "bare",
)

SCENARIOS = (
    Scenario(
        name="web",
        does="64 threads handle requests: a query, 10 ms of other work, a query. Pools of 4; "
        "Django without a pool and the bare driver have 64 connections; behind the gate, 4 threads "
        "at a time make a query, each on a connection of its own: a pool that costs nothing.",
        contestants=_CONTESTANTS,
        metrics=METRICS,
        targets=_targets(),
        run=run,
    ),
    Scenario(
        name="threads",
        does="The same, with 1 to 64 threads.",
        contestants=_CONTESTANTS,
        metrics=(REQUESTS,),
        run=_run_with_more_and_more,
        rounds=3,
    ),
)
