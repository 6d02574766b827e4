"""A query, and ``connection.close()``, which gives the connection back to a pool."""

from __future__ import annotations

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import cheapest
from ..placement import Placement
from ..scenario import Metric, Outcome, Scenario, Stage, at_most


def _run(stage: Stage) -> Outcome:
    query = make_client(stage, PoolSettings(size=4)).query
    from django.db import connection

    def query_and_close() -> None:
        query()
        connection.close()

    seconds = cheapest(query_and_close, calls=100, batches=int(stage.scaled(100)))
    return Outcome({"time": seconds * 1e6})


SCENARIOS = (
    Scenario(
        name="close",
        does="`SELECT 1` and `connection.close()` on one thread: a connection acquired and "
        "released for each query.",
        contestants=("ours", "ours-transaction", "django-pool", "real-pool", "db-connection-pool"),
        metrics=(Metric("time", "µs"),),
        targets=(at_most(0.8, "time", of="django-pool"),),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
