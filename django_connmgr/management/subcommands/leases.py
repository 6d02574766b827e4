"""Show who holds which connection, and why, in every process of this project on this host."""

import re
import sysconfig
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from ...inspection.client import Reply
from . import processes
from .tables import as_duration, as_lines, clean, shorten

_COLUMNS = ("pid", "slot", "pool", "thread", "held", "idle", "backend")
_FRAME = re.compile(r'  File "(?P<path>.+)", line (?P<line>\d+), in (?P<function>.+)')
#: Where code is that is not the project's.
_ELSEWHERE = (
    *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[2]),
)


def add_arguments(parser: ArgumentParser) -> None:
    processes.add_arguments(parser)
    parser.add_argument(
        "--stacks", action="store_true", help="The line where each holder is right now, too."
    )


def run(options: dict[str, Any]) -> str:
    replies = processes.ask_them("leases", options, stacks=options["stacks"])
    if options["json"]:
        return processes.as_json(replies)
    return describe(replies)


def describe(replies: list[Reply]) -> str:
    """A table of leases, longest held first in each process, and their stacks below it."""
    if not replies:
        return processes.describe_none()
    found = [(reply, one) for reply in replies for one in reply.records("leases")]
    if found:
        head, *rows = as_lines([_COLUMNS, *(_row(reply, one) for reply, one in found)], words=4)
        parts = [head]
        for row, (_, lease) in zip(rows, found, strict=True):
            parts += [row, *_details(lease)]
    else:
        parts = ["No connection is leased."]
    parts += processes.describe_silent(replies)
    parts += [f"Process {one.pid} has more than it tells." for one in replies if _is_cut(one)]
    return "\n".join(parts)


def _is_cut(reply: Reply) -> bool:
    return bool(reply.answer.get("cut"))


def _row(reply: Reply, lease: dict[str, Any]) -> tuple[str, ...]:
    owner = str(lease.get("owner")) + ("" if lease.get("is_alive") else " (dead)")
    idle = float(lease.get("idle_for") or 0.0)
    return (
        str(reply.pid),
        str(lease.get("slot")),
        shorten(str(lease.get("pool")), 14),
        shorten(owner, 24),
        as_duration(float(lease.get("held_for") or 0.0)),
        as_duration(idle) if idle else "",
        str(lease.get("backend_pid") or ""),
    )


def _details(lease: dict[str, Any]) -> list[str]:
    """Lines about one lease: what for, where it was taken, and where its holder is now."""
    holds = lease.get("holds")
    words = [str(lease.get("unit") or "no unit of work")]
    words += map(str, holds) if isinstance(holds, list) else []
    if lease.get("state") != "leased":
        words.append(str(lease.get("state")))
    lines = [f"  {clean(', '.join(words))}"]
    lines += describe_place("leased", lease.get("leased_at"))
    return lines + describe_place("now", lease.get("stack"))


def describe_place(word: str, stack: Any) -> list[str]:
    """Lines that name the innermost place of a stack in the project's code, if there is one."""
    place = find_line(str(stack or ""))
    if place is None:
        return []
    return [f"  {word} at {place[0]}", *([f"    {place[1]}"] if place[1] else [])]


def find_line(stack: str) -> tuple[str, str] | None:
    """Place and code of the innermost line that is not the standard library's or a package's."""
    lines = clean_lines(stack)
    frames = [(index, found) for index, line in enumerate(lines) if (found := _FRAME.match(line))]
    own = [one for one in frames if not one[1]["path"].startswith(_ELSEWHERE)]
    if not frames:
        return None
    index, found = (own or frames)[-1]
    code = lines[index + 1].strip() if index + 1 < len(lines) else ""
    return f"{found['path']}:{found['line']} in {found['function']}", code


def clean_lines(text: str) -> list[str]:
    return [clean(line) for line in text.splitlines()]
