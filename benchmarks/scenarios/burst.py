"""Many who need a connection for long, all at once, from a server that is slow to connect."""

from __future__ import annotations

import threading
import time

from ..census import counting
from ..clients import make_client
from ..contestants import Wish
from ..distance import slow_to_connect
from ..load import all_at_once
from ..scenario import Metric, Outcome, Scenario, Stage, at_most

_THREADS, _CONNECT = 20, 0.1


def _run(stage: Stage) -> Outcome:
    with slow_to_connect(stage.server, _CONNECT) as server, counting(stage.server) as census:
        client = make_client(stage, Wish(size=_THREADS, warm=1), server)
        from django.db import transaction

        with client.request():
            client.query()
        is_there = threading.Barrier(_THREADS)  # Nobody leaves before all have come.

        def turn() -> float:
            began = time.perf_counter()
            with client.request(), transaction.atomic():
                client.query()
                waited = time.perf_counter() - began
                is_there.wait(30)
            return waited

        began = time.monotonic()
        waits = all_at_once(_THREADS, turn)
    return Outcome(
        {"slowest": max(waits), "connections": float(census.peak)},
        {"connections": census.since(began)},
    )


SCENARIOS = (
    Scenario(
        name="burst",
        does="One connection is open when 20 threads each need one for long, in a pool of 20; "
        "connecting takes 100 ms. The slowest to have its first row.",
        contestants=("ours", "stock", "django-pool", "real-pool", "db-connection-pool"),
        metrics=(Metric("slowest", "s"), Metric("connections", "at the peak")),
        targets=(at_most(0.5, "slowest"),),
        run=_run,
        rounds=3,
    ),
)
