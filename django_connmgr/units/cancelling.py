"""Units of work for whose results nothing waits any more."""

from functools import partial

from .._pool.background import start_thread
from .._pool.cause import Cancellation
from .._pool.scope import Home
from .unit import Unit


def cancel_queries(unit: Unit) -> None:
    """End the queries that run for a unit, with their leases: their threads get a ``PoolError``.

    What is leased, but runs no query right now, goes when its use ends. Returns at once, because
    it is called on event loops: to cancel takes a round trip.
    """
    busy = [
        (pool, slot, since)
        for pool in unit.scope.takes.copy()
        for slot, since in pool.leases_in(unit.scope)
        if pool.is_busy(slot, since)
    ]
    if busy:
        start_thread(partial(_kill, unit, busy), "django-connmgr-cancel")


def _kill(unit: Unit, busy: list[tuple[Home, int, float]]) -> None:
    for pool, slot, since in busy:
        pool.kill(slot, since, unit.scope, Cancellation(unit.name))
