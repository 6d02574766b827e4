"""Many short queries at once, where waiting for a returned connection is better than connecting."""

from __future__ import annotations

import threading
import time

from ..clients import Client, make_client
from ..contestants import PoolSettings
from ..load import all_at_once
from ..scenario import Metric, Outcome, Scenario, Stage, at_most
from ..server_connections import counting
from ..slow_proxy import slow_to_connect

_THREADS, _IDLE, _SIZE, _CONNECT = 50, 5, 50, 0.15
#: Seconds that connects under way may take to end.
_SETTLING = 1.0


def _run(stage: Stage) -> Outcome:
    with slow_to_connect(stage.server, _CONNECT) as server, counting(stage.server) as counts:
        client = make_client(stage, PoolSettings(size=_SIZE, min_size=_IDLE), server)
        open_idle(client, _IDLE)

        def turn() -> float:
            began = time.perf_counter()
            with client.request():
                client.query()
            return time.perf_counter() - began

        began = time.monotonic()
        waits = all_at_once(_THREADS, turn)
        time.sleep(_SETTLING)
    return Outcome(
        {"slowest": 1000 * max(waits), "connections": float(counts.last)},
        {"connections": counts.since(began)},
    )


def open_idle(client: Client, count: int) -> None:
    """Make a pool open ``count`` connections, and give them all back."""
    from django.db import transaction

    all_connected = threading.Barrier(count)

    def turn() -> float:
        with client.request(), transaction.atomic():
            client.query()
            all_connected.wait(30)
        return 0.0

    all_at_once(count, turn)


SCENARIOS = (
    Scenario(
        name="spike",
        does="5 connections are idle when 50 threads each make one short query, in a pool of at "
        "most 50; connecting takes 150 ms. The slowest query, and the connections afterwards.",
        contestants=("ours", "stock", "django-pool", "real-pool", "db-connection-pool"),
        metrics=(Metric("slowest", "ms"), Metric("connections", "afterwards")),
        targets=(at_most(60, "slowest"), at_most(15, "connections")),
        run=_run,
        rounds=3,
    ),
)
