"""The numbers of pools, as JSON takes them."""

import logging
from typing import Any

from ..registry import Pool, registry

logger = logging.getLogger("django_connmgr.inspection")


def alias_of(pool: Pool) -> str:
    return pool.name.partition("@")[0]


def numbers_of(pool: Pool, *, with_timings: bool = False) -> dict[str, Any]:
    """Every number of one pool, and how long things took, if it is to tell and measures that."""
    stats = pool.stats()
    longest = next(iter(pool.waiters(most=1)), None) if stats.waiting else None
    numbers = {
        **vars(stats),
        "closed": dict(stats.closed),
        "alias": alias_of(pool),
        "cold": stats.idle - stats.warm,
        "oldest_wait": 0.0 if longest is None else longest.waited,
    }
    timings = pool.timings() if with_timings else None
    if timings is not None:
        numbers["timings"] = {
            "wait": vars(timings.wait),
            "connect": vars(timings.connect),
            "use": vars(timings.use),
            "units": dict(timings.units),
        }
    return numbers


def all_numbers() -> list[dict[str, Any]]:
    """Of each pool of this process, with timings. One that fails is logged, and left out."""
    found = []
    for pool in registry.all():
        try:
            found.append(numbers_of(pool, with_timings=True))
        except Exception:
            logger.exception("Pool %r does not tell its numbers.", pool.name)
    return found
