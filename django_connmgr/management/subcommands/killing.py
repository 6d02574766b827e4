"""End one lease and its connection: its holder gets an error, and a waiter its place."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from ...inspection.client import ask
from .steering import add_yes, confirm, describe_deed


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("process", type=int, metavar="pid", help="As 'connmgr leases' shows it.")
    parser.add_argument("slot", type=int, help="As 'connmgr leases' shows it.")
    add_yes(parser)


def run(options: dict[str, Any]) -> str:
    pid, slot = options["process"], options["slot"]
    replies = ask("leases", pids={pid}, all_projects=True)
    if not replies:
        raise CommandError(f"There is no process {pid} that uses a pool, as this user sees it.")
    if replies[0].error:
        raise CommandError(f"Process {pid}: {replies[0].error}")
    found = [one for one in replies[0].records("leases") if one.get("slot") == slot]
    if not found:
        raise CommandError(f"Slot {slot} of process {pid} is not leased (any more).")
    lease = found[0]
    who = f"thread {lease.get('owner')!r}"
    unit = f" in {lease.get('unit')}" if lease.get("unit") else ""
    confirm(
        f"End the connection of {who}{unit}, held for {lease.get('held_for', 0):.1f} s? What it "
        "has not committed is lost.",
        options,
    )
    named = {key: lease.get(key) for key in ("pool", "slot", "since")}
    done = ask("kill-lease", named, pids={pid}, all_projects=True, timeout=10)
    return "\n".join(map(describe_deed, done))
