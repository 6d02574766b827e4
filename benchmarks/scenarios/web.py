"""Requests that use the database for a small part of their time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from ..clients import Client, make_client
from ..contestants import PoolSettings
from ..load import Load, distribution, keep_busy
from ..placement import Placement
from ..scenario import Better, Metric, Outcome, Scenario, Stage, Target, at_least, at_most

_THREADS, _SIZE, _OTHER_WORK = 64, 4, 0.01


def serve(client: Client, threads: int, seconds: float, other_work: float = _OTHER_WORK) -> Load:
    """Threads that each handle one request after the other."""

    def turn() -> float:
        with client.request():
            asked = time.perf_counter()
            client.query()
            waited = time.perf_counter() - asked
            time.sleep(other_work)
            client.query()
        return waited

    return keep_busy(threads, seconds, turn)


def run(stage: Stage, other_work: float = _OTHER_WORK) -> Outcome:
    client = make_client(stage, PoolSettings(size=_SIZE))
    load = serve(client, _THREADS, stage.scaled(2.0), other_work)
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


def _targets(bounds: Mapping[str, float]) -> tuple[Target, ...]:
    """At least so many times the requests of each peer, for both of ours."""
    return tuple(
        at_least(bound, "requests", of=peer, ours=ours)
        for ours in ("ours", "ours-transaction")
        for peer, bound in bounds.items()
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
        targets=(
            *_targets({"stock-persistent": 1.0, "real-pool": 1.15, "django-pool": 4.0}),
            at_least(1.0, "fewest to fair", of="django-pool"),
            at_most(1.0, "worst wait", of="django-pool"),
        ),
        run=run,
    ),
    Scenario(
        name="web-4ms",
        does="The requests of `web`, with 4 ms of other work.",
        contestants=_CONTESTANTS,
        metrics=METRICS,
        targets=_targets({"stock-persistent": 0.8, "real-pool": 1.2}),
        run=partial(run, other_work=0.004),
        placements=(Placement.PINNED,),
    ),
    Scenario(
        name="threads",
        does="The requests of `web`, handled by 1 to 64 threads.",
        contestants=_CONTESTANTS,
        metrics=(REQUESTS,),
        run=_run_with_more_and_more,
        rounds=3,
    ),
)
