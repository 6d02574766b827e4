"""Show the pools of every process of this project on this host."""

from argparse import ArgumentParser
from typing import Any

from ...api import pools
from ...inspection.client import Reply
from . import processes
from .tables import as_duration, as_table, shorten

_COLUMNS = ("pid", "process", "pool", "size", "warm", "cold", "leased", "waiting")


def add_arguments(parser: ArgumentParser) -> None:
    processes.add_arguments(parser)


def run(options: dict[str, Any]) -> str:
    replies = processes.ask_them("status", options)
    if options["json"]:
        return processes.as_json(replies)
    if not replies:
        return f"{processes.describe_none()}\n\n{_describe_configured()}"
    return describe(replies)


def describe(replies: list[Reply]) -> str:
    """A table of pools for each project, and below it what else is to be known of them."""
    return "\n\n".join(head + _describe(some) for head, some in processes.by_project(replies))


def _describe(replies: list[Reply]) -> str:
    found = [(reply, pool) for reply in replies for pool in reply.records("pools")]
    parts = [as_table([_COLUMNS, *(_row(reply, pool) for reply, pool in found)])]
    notes = [note for reply, pool in found for note in _notes(reply.pid, pool)]
    notes += processes.describe_silent(replies)
    return "\n".join([*parts, "", *notes] if notes else parts)


def _row(reply: Reply, pool: dict[str, Any]) -> tuple[str, ...]:
    limit = pool.get("max_size")
    size = f"{pool.get('size')} of {'∞' if limit is None else limit}"
    numbers = (str(pool.get(name, "?")) for name in _COLUMNS[4:])
    role = shorten(reply.role, 18)
    return (str(reply.pid), role, shorten(str(pool.get("name")), 14), size, *numbers)


def _notes(pid: int, pool: dict[str, Any]) -> list[str]:
    """What is not ordinary about it."""
    notes = []
    if pool.get("status") != "open":
        notes.append(f"is {pool.get('status')}")
    for name, words in (("connecting", "being opened"), ("maintenance", "in maintenance")):
        if pool.get(name):
            notes.append(f"{pool[name]} {words}")
    if pool.get("oldest_wait"):
        notes.append(f"the first waiter has waited for {as_duration(float(pool['oldest_wait']))}")
    if pool.get("timeouts"):
        notes.append(f"acquires that timed out: {pool['timeouts']}")
    closed = pool.get("closed")
    if isinstance(closed, dict) and closed:
        reasons = ", ".join(f"{count} {name}" for name, count in sorted(closed.items()))
        notes.append(f"opened: {pool.get('opened')}, closed: {reasons}")
    return [f"{pid} {pool.get('name')}: {note}" for note in notes]


def _describe_configured() -> str:
    snapshots = [pool.stats() for pool in pools.values()]
    if not snapshots:
        return (
            "No alias of DATABASES is pooled. Set its ENGINE to "
            "'django_connmgr.backends.postgresql' or another of django_connmgr's."
        )
    rows = [
        (stats.name, "no limit" if stats.max_size is None else str(stats.max_size))
        for stats in snapshots
    ]
    return f"The pools that are configured:\n\n{as_table([('pool', 'max_size'), *rows], words=1)}"
