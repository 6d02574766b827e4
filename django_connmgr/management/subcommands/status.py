"""Show the pools of this process, which has just begun: what is configured."""

import json
from argparse import ArgumentParser
from typing import Any

from ..._pool.stats import PoolStats
from ...api import pools
from .tables import as_table

_NOTE = """\
The pools of this command's own process, which has just begun.
Inside a server or a worker, ask django_connmgr.pools[alias].stats()."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print every number, as JSON.")


def run(options: dict[str, Any]) -> str:
    snapshots = [pool.stats() for pool in pools.values()]
    if options["json"]:
        numbers = {stats.name: vars(stats) for stats in snapshots}
        return json.dumps(numbers, indent=2, default=dict)
    if not snapshots:
        return (
            "No alias of DATABASES is pooled. Set its ENGINE to "
            "'django_connmgr.backends.postgresql' or another of django_connmgr's."
        )
    rows = [_row(stats) for stats in snapshots]
    table = as_table([list(rows[0]), *(list(row.values()) for row in rows)])
    return f"{_NOTE}\n\n{table}"


def _row(stats: PoolStats) -> dict[str, str]:
    """The cells of one pool, by the heads of their columns."""
    limit = "no limit" if stats.max_size is None else stats.max_size
    return {
        "pool": stats.name,
        "status": stats.status,
        "size": f"{stats.size} of {limit}",
        "opening": str(stats.connecting),
        "idle": str(stats.idle),
        "warm": str(stats.warm),
        "leased": str(stats.leased),
        "maint.": str(stats.maintenance),
        "waiting": str(stats.waiting),
        "timeouts": str(stats.timeouts),
    }
