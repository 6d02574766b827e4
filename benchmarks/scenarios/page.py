"""Requests that make several queries of the ORM around other work, as a page does."""

from __future__ import annotations

import time

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import distribution, keep_busy
from ..placement import Placement
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least

_THREADS, _SIZE, _GETS, _OTHER_WORK = 40, 4, 5, 0.01
_POOLS = ("django-pool", "real-pool", "db-connection-pool")


def _run(stage: Stage) -> Outcome:
    client = make_client(stage, PoolSettings(size=_SIZE))
    from testproject.shop.models import Customer

    def get_some() -> None:
        for key in range(1, 1 + _GETS):
            Customer.objects.get(pk=key)

    def turn() -> float:
        began = time.perf_counter()
        with client.request():
            get_some()
            time.sleep(_OTHER_WORK)
            get_some()
        return time.perf_counter() - began

    load = keep_busy(_THREADS, stage.scaled(3.0), turn)
    return Outcome(
        {
            "requests": load.per_second,
            "fewest to fair": load.fewest_to_fair,
            "longest": 1000 * max(load.waits),
        },
        distribution(load.waits),
    )


SCENARIOS = (
    Scenario(
        name="page",
        does="40 threads handle requests: 5 gets of the ORM, 10 ms of other work, 5 gets. Pools "
        "of 4; Django without a pool has 40 connections.",
        contestants=("ours", "ours-transaction", "stock-persistent", *_POOLS),
        metrics=(
            Metric("requests", "per second", Better.MORE),
            Metric("fewest to fair", "", Better.MORE),
            Metric("longest", "ms"),
        ),
        targets=(
            at_least(0.97, "requests", of="stock-persistent"),
            *(at_least(1.0, "requests", of=pool) for pool in _POOLS),
        ),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
