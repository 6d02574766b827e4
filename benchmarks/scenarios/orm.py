"""What a query of the ORM costs, in time and in function calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..contestants import PoolSettings
from ..load import cheapest
from ..placement import Placement
from ..project import databases, set_up
from ..scenario import Metric, Outcome, Scenario, Stage, at_most, at_most_above

_COUNTED = 100


def _run(stage: Stage) -> Outcome:
    set_up(databases(stage.contestant, stage.server, PoolSettings(size=4)))
    from testproject.shop.models import Customer

    def get() -> object:
        return Customer.objects.get(pk=1)

    seconds = cheapest(get, calls=50, batches=int(stage.scaled(40)))
    return Outcome({"time": seconds * 1e6, "calls": count_calls(get)})


def count_calls(work: Callable[[], object]) -> float:
    """Function calls of one ``work()``, those of functions written in C too, as a profiler counts.

    The median, because the garbage collector calls finalisers now and then.
    """
    counts = []
    for _ in range(_COUNTED):
        count = 0

        def note(frame: FrameType, event: str, arg: Any) -> None:  # noqa: ARG001
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(None)
        counts.append(count)
    return float(sorted(counts)[_COUNTED // 2])


SCENARIOS = (
    Scenario(
        name="orm",
        does="`Customer.objects.get(pk=1)` again and again on one thread.",
        contestants=(
            "ours-transaction",
            "ours",
            "stock-persistent",
            "django-pool",
            "real-pool",
            "db-connection-pool",
        ),
        metrics=(Metric("time", "µs"), Metric("calls", "function calls")),
        targets=(
            at_most(1.05, "time", of="stock-persistent", ours="ours-transaction"),
            at_most_above(25, "calls", peer="stock-persistent", ours="ours-transaction"),
        ),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
