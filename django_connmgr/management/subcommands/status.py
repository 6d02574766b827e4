"""Show the pools of this process, which has just begun: what is configured."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import fields
from typing import Any

from ..._pool.stats import PoolStats
from ...api import pools
from .tables import as_table

_COLUMNS = (
    "pool",
    "status",
    "size",
    "opening",
    "idle",
    "warm",
    "leased",
    "maint.",
    "waiting",
    "timeouts",
)


_NOTE = (
    "The pools of this command's own process, which has just begun.\n"
    "Inside a server or a worker, ask django_connmgr.pools[alias].stats()."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print every number, as JSON.")


def run(options: dict[str, Any]) -> str:
    snapshots = [pool.stats() for pool in pools.values()]
    if options["json"]:
        return json.dumps({stats.name: _as_json(stats) for stats in snapshots}, indent=2)
    if not snapshots:
        return (
            "No alias of DATABASES is pooled. Set its ENGINE to "
            "'django_connmgr.backends.postgresql' or another of django_connmgr's."
        )
    table = as_table([_COLUMNS, *(_row(stats) for stats in snapshots)])
    return f"{_NOTE}\n\n{table}"


def _row(stats: PoolStats) -> tuple[str, ...]:
    limit = "no limit" if stats.max_size is None else str(stats.max_size)
    return (
        stats.name,
        stats.status,
        f"{stats.size} of {limit}",
        str(stats.connecting),
        str(stats.idle),
        str(stats.warm),
        str(stats.leased),
        str(stats.maintenance),
        str(stats.waiting),
        str(stats.timeouts),
    )


def _as_json(stats: PoolStats) -> dict[str, Any]:
    values = {field.name: getattr(stats, field.name) for field in fields(stats)}
    return {**values, "closed": dict(stats.closed)}
