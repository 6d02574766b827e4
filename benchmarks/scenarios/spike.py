"""Many short queries at once, where waiting for a returned connection is better than connecting."""

from __future__ import annotations

import threading
import time

from ..census import counting
from ..clients import Client, make_client
from ..contestants import Wish
from ..distance import slow_to_connect
from ..load import all_at_once
from ..scenario import Metric, Outcome, Scenario, Stage, at_most

_THREADS, _IDLE, _SIZE, _CONNECT = 50, 5, 50, 0.15
#: How long connects that are under way may take to end, in seconds.
_SETTLING = 1.0


def _run(stage: Stage) -> Outcome:
    with slow_to_connect(stage.server, _CONNECT) as server, counting(stage.server) as census:
        client = make_client(stage, Wish(size=_SIZE, warm=_IDLE), server)
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
        {"slowest": 1000 * max(waits), "connections": float(census.last)},
        {"connections": census.since(began)},
    )


def open_idle(client: Client, count: int) -> None:
    """Make a pool open so many connections, and have them back."""
    from django.db import transaction

    is_there = threading.Barrier(count)

    def turn() -> float:
        with client.request(), transaction.atomic():
            client.query()
            is_there.wait(30)
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
