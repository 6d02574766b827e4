"""A block that holds a connection for one query."""

from __future__ import annotations

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import cheapest
from ..placement import Placement
from ..scenario import Metric, Outcome, Scenario, Stage, at_most


def _run(stage: Stage) -> Outcome:
    query = make_client(stage, PoolSettings(size=4)).query
    work = query
    if stage.contestant.is_ours:
        from django_connmgr import with_connection

        def work() -> None:
            with with_connection():
                query()

    seconds = cheapest(work, calls=100, batches=int(stage.scaled(100)))
    return Outcome({"time": seconds * 1e6})


SCENARIOS = (
    Scenario(
        name="block",
        does="`with_connection(): SELECT 1` on one thread, against the same query on a connection "
        "that is never given back.",
        contestants=("ours", "ours-transaction", "stock-persistent", "bare"),
        metrics=(Metric("time", "µs"),),
        targets=(at_most(1.08, "time", of="stock-persistent"),),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
