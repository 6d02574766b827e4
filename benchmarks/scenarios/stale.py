"""The server was restarted while connections lay idle."""

from __future__ import annotations

import time

from ..clients import Client, make_client
from ..contestants import PoolSettings
from ..scenario import Metric, Outcome, Scenario, Stage, at_most
from ..server import APPLICATION, Address, await_disconnects
from .spike import open_idle

_IDLE, _TIMEOUT = 8, 5.0
#: Seconds after which a contestant that still fails has failed.
_RECOVERY_TIMEOUT = 30.0


def _run(stage: Stage) -> Outcome:
    client = make_client(stage, PoolSettings(size=_IDLE, checks=True, timeout=_TIMEOUT))
    with client.request():
        client.query()
    open_idle(client, _IDLE)
    _end_all(stage.server)
    began = time.perf_counter()
    errors = _until_it_works(client, began + _RECOVERY_TIMEOUT)
    measures = {"first": 1000 * (time.perf_counter() - began), "errors": float(errors)}
    if stage.contestant.is_ours:
        from django_connmgr import pools

        measures["checks"] = float(pools["default"].stats().checks)
    return Outcome(measures)


def _until_it_works(client: Client, deadline: float) -> int:
    """Requests that failed before one succeeded."""
    from django.db import Error

    errors = 0
    while True:
        try:
            with client.request():
                client.query()
            return errors
        except Error:
            errors += 1
            if time.perf_counter() > deadline:
                raise


def _end_all(server: Address) -> None:
    """End the contestant's connections as a restart does; the server accepts new ones."""
    import psycopg

    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(autocommit=True, **server.conninfo("terminate")) as connection:
        connection.execute(query, [APPLICATION])
    await_disconnects(server)


SCENARIOS = (
    Scenario(
        name="stale",
        does="8 connections are idle, the server ended them all and is up again: how long the "
        "first query takes to succeed. Peers are told to check connections.",
        contestants=("ours", "stock-persistent", "django-pool", "real-pool", "db-connection-pool"),
        metrics=(Metric("first", "ms"), Metric("errors"), Metric("checks")),
        targets=(at_most(100, "first"), at_most(0, "errors"), at_most(1, "checks")),
        run=_run,
        rounds=2,
    ),
)
