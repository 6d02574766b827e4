"""Show who waits for a connection, in every process of this project on this host."""

from argparse import ArgumentParser
from typing import Any

from ...inspection.client import Reply
from . import processes
from .leases import describe_place
from .tables import as_duration, as_lines, shorten

_COLUMNS = ("pid", "pool", "thread", "unit", "waited", "times out in")


def add_arguments(parser: ArgumentParser) -> None:
    processes.add_arguments(parser)
    parser.add_argument("--stacks", action="store_true", help="The line where each waiter is, too.")


def run(options: dict[str, Any]) -> str:
    replies = processes.ask_them("waiters", options, stacks=options["stacks"])
    if options["json"]:
        return processes.as_json(replies)
    return describe(replies)


def describe(replies: list[Reply]) -> str:
    """A table of waiters, first come first."""
    if not replies:
        return processes.describe_none()
    found = [(reply, one) for reply in replies for one in reply.records("waiters")]
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
    if not rows:
        return "\n".join(["No thread waits for a connection.", *processes.describe_silent(replies)])
    head, *lines = as_lines([_COLUMNS, *rows], words=4)
    parts = [head]
    for line, (_, one) in zip(lines, found, strict=True):
        parts += [line, *describe_place("now", one.get("stack"))]
    return "\n".join([*parts, *processes.describe_silent(replies)])
