"""Whether this process can serve: warm, exhausted, or without a database. Takes no connection."""

import enum
from dataclasses import dataclass

from ._pool.pool import ConnectionPool
from ._pool.stats import PoolStats
from .registry import registry


class Condition(enum.StrEnum):
    #: As many connections are open as ``min_size`` asks for.
    WARM = "warm"
    COLD = "cold"
    #: All connections are leased, and callers wait.
    EXHAUSTED = "exhausted"
    #: The last attempt to connect failed.
    DOWN = "down"
    #: Suspended or closed by hand.
    OUT = "out"


@dataclass(frozen=True)
class Health:
    """Of one pool."""

    pool: str
    condition: Condition
    text: str

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.condition is Condition.WARM


def check_pools() -> list[Health]:
    """Of every pool that this process has made, by what is known of it. It sends nothing.

    That a database is down is known once an attempt to connect has failed, and forgotten when one
    succeeds.
    """
    return [check_pool(pool) for pool in registry.all()]


def check_pool(pool: ConnectionPool[object]) -> Health:
    stats = pool.stats()
    if stats.status != "open":
        return Health(pool.name, Condition.OUT, f"It is {stats.status}.")
    if pool.connect_error is not None:
        kind = type(pool.connect_error).__name__  # The text may be for other eyes.
        return Health(pool.name, Condition.DOWN, f"The last attempt to connect failed: {kind}.")
    if _is_exhausted(stats):
        text = f"All {stats.size} connections are leased, and {stats.waiting} callers wait."
        return Health(pool.name, Condition.EXHAUSTED, text)
    if stats.size < stats.min_size:
        text = f"{stats.size} of {stats.min_size} connections (min_size) are open."
        return Health(pool.name, Condition.COLD, text)
    return Health(pool.name, Condition.WARM, f"{stats.size} connections are open.")


def _is_exhausted(stats: PoolStats) -> bool:
    is_full = stats.max_size is not None and stats.size >= stats.max_size
    return is_full and not stats.idle and stats.waiting > 0
