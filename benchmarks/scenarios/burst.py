"""Many threads that each need a connection for long, all at once; connecting is slow."""

from __future__ import annotations

import threading
import time

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import all_at_once
from ..scenario import Metric, Outcome, Scenario, Stage, at_most
from ..server_connections import counting
from ..slow_proxy import slow_to_connect

_THREADS, _CONNECT = 20, 0.1


def _run(stage: Stage) -> Outcome:
    with slow_to_connect(stage.server, _CONNECT) as server, counting(stage.server) as counts:
        client = make_client(stage, PoolSettings(size=_THREADS, min_size=1), server)
        from django.db import transaction

        with client.request():
            client.query()
        all_connected = threading.Barrier(_THREADS)

        def turn() -> float:
            began = time.perf_counter()
            with client.request(), transaction.atomic():
                client.query()
                waited = time.perf_counter() - began
                all_connected.wait(30)
            return waited

        began = time.monotonic()
        waits = all_at_once(_THREADS, turn)
    return Outcome(
        {"slowest": max(waits), "connections": float(counts.peak)},
        {"connections": counts.since(began)},
    )


SCENARIOS = (
    Scenario(
        name="burst",
        does="One connection is open when 20 threads each need one for long, in a pool of 20; "
        "connecting takes 100 ms. How long the slowest thread waits for its first row.",
        contestants=("ours", "stock", "django-pool", "real-pool", "db-connection-pool"),
        metrics=(Metric("slowest", "s"), Metric("connections", "at the peak")),
        targets=(at_most(0.5, "slowest"),),
        run=_run,
        rounds=3,
    ),
)
