"""What a request of two queries costs, in processor time."""

from __future__ import annotations

import time

from ..clients import make_client
from ..contestants import PoolSettings
from ..load import cheapest
from ..placement import Placement
from ..scenario import Metric, Outcome, Scenario, Stage, at_most


def _run(stage: Stage) -> Outcome:
    client = make_client(stage, PoolSettings(size=4))

    def request() -> None:
        with client.request():
            client.query()
            client.query()

    batches = int(stage.scaled(100))
    seconds = cheapest(request, calls=100, batches=batches, clock=time.process_time)
    return Outcome({"processor time": seconds * 1e6})


SCENARIOS = (
    Scenario(
        name="request",
        does="One thread handles requests: Django's signals and two queries in between. The "
        "processor time of the client's process, its other threads included.",
        contestants=(
            "ours",
            "ours-transaction",
            "stock-persistent",
            "django-pool",
            "real-pool",
            "db-connection-pool",
            "bare",
        ),
        metrics=(Metric("processor time", "µs"),),
        targets=(at_most(1.2, "processor time", of="stock-persistent"),),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
