"""A block that holds a connection for one query, and the query without it."""

from __future__ import annotations

from collections.abc import Callable

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import cheapest
from ..scenario import Metric, Outcome, Scenario, Stage, at_most


def _run(stage: Stage) -> Outcome:
    query = make_client(stage, PoolSettings(size=4)).query
    seconds = _measure(stage, query)
    return Outcome({"time": seconds * 1e6})


def _measure(stage: Stage, query: Callable[[], object]) -> float:
    batches = int(stage.scaled(100))
    if stage.contestant.database is None:
        return cheapest(query, calls=100, batches=batches)
    from django_connmgr import with_connection

    def query_in_block() -> None:
        with with_connection():
            query()

    if stage.contestant.is_ours:
        return cheapest(query_in_block, calls=100, batches=batches)
    with with_connection():
        return cheapest(query, calls=100, batches=batches)


SCENARIOS = (
    Scenario(
        name="block",
        does="`with_connection(): SELECT 1`, one thread, against the same query while the "
        "connection is held all the time.",
        contestants=("ours", "ours-held", "bare"),
        metrics=(Metric("time", "µs"),),
        targets=(at_most(1.05, "time", of="ours-held"),),
        run=_run,
    ),
)
