"""Show who waits for a connection, in every process of this project on this host."""

import json
from argparse import ArgumentParser
from typing import Any

from ...inspection.client import Reply
from . import processes
from .tables import as_duration, as_table, shorten

_COLUMNS = ("pid", "pool", "thread", "unit", "waited", "times out in")


def add_arguments(parser: ArgumentParser) -> None:
    processes.add_arguments(parser)


def run(options: dict[str, Any]) -> str:
    replies = processes.ask_them("waiters", options)
    if options["json"]:
        return json.dumps([{"pid": one.pid, "error": one.error, **one.answer} for one in replies])
    return describe(replies)


def describe(replies: list[Reply]) -> str:
    """A table of waiters, first come first."""
    if not replies:
        return processes.describe_none()
    found = [(reply, one) for reply in replies for one in processes.records_of(reply, "waiters")]
    rows = [
        (
            str(reply.pid),
            shorten(str(one.get("pool")), 14),
            shorten(str(one.get("owner")), 20),
            shorten(str(one.get("unit")), 24),
            as_duration(float(one.get("waited") or 0.0)),
            as_duration(float(one.get("remaining") or 0.0)),
        )
        for reply, one in found
    ]
    table = as_table([_COLUMNS, *rows], words=4) if rows else "No thread waits for a connection."
    return "\n".join([table, *processes.describe_silent(replies)])
