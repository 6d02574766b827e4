"""What routing to replicas costs, without and with a write."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.utils.module_loading import import_string

from ..contestants import PoolSettings
from ..load import cheapest
from ..placement import Placement
from ..project import databases, set_up
from ..scenario import Metric, Outcome, Scenario, Stage, at_most

#: Routers of other packages, which look at less: neither at transactions nor at writes of a unit.
PEERS = {
    "django-multidb-router's": "multidb.ReplicaRouter",
    "django-replicated's": "django_replicated.router.ReplicationRouter",
}


def _run(stage: Stage) -> Outcome:
    settings = databases(stage.contestant, stage.server, PoolSettings(size=4))
    default = settings["default"]
    host = {"HOST": default["HOST"], "PORT": default["PORT"]}
    replica = {**default, "OPTIONS": {"replica_of": "default", "hosts": [host]}}
    set_up({**settings, "replica": replica})
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory

    from django_connmgr import marks_write, unit_of_work
    from django_connmgr.middleware import UnitOfWorkMiddleware
    from django_connmgr.routers import ReplicaRouter
    from testproject.shop.models import Customer

    peers = {name: _find_router(path) for name, path in PEERS.items()}
    router, request, response = ReplicaRouter(), RequestFactory().get("/"), HttpResponse()

    def write(_: HttpRequest) -> HttpResponse:
        marks_write()
        return HttpResponse()

    def measure(work: Any, calls: int) -> float:
        return cheapest(work, calls=calls, batches=int(stage.scaled(40))) * 1e6

    reads, writes = UnitOfWorkMiddleware(lambda _: response), UnitOfWorkMiddleware(write)
    with unit_of_work():
        route = measure(lambda: router.db_for_read(Customer), 1000)
    others = {
        name: measure(partial(peer.db_for_read, Customer), 1000)
        for name, peer in peers.items()
        if peer is not None
    }
    return Outcome(
        {
            "db_for_read": route,
            **others,
            "middleware": measure(lambda: reads(request), 500),
            "middleware, after a write": measure(lambda: writes(request), 50),
        }
    )


def _find_router(path: str) -> Any:
    """A peer's; ``None`` if it is not installed."""
    try:
        return import_string(path)()
    except ImportError:
        return None


SCENARIOS = (
    Scenario(
        name="replicas",
        does="`ReplicaRouter.db_for_read()` in a unit of work, and `UnitOfWorkMiddleware` around a "
        "view that does nothing, and around one that has written, which asks the primary how far "
        "its log is and signs that.",
        contestants=("ours",),
        metrics=(
            Metric("db_for_read", "µs"),
            *(Metric(name, "µs") for name in PEERS),
            Metric("middleware", "µs"),
            Metric("middleware, after a write", "µs"),
        ),
        targets=(at_most(2.0, "db_for_read"), at_most(20.0, "middleware")),
        run=_run,
        placements=(Placement.PINNED,),
    ),
)
