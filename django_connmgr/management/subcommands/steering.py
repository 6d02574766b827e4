"""What can be done to the pools of running processes. Each asks first."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management import CommandError

from ...inspection.client import Reply, ask
from . import processes

#: A process may wait for servers, for so many seconds beyond what it was given.
PATIENCE = 10.0


class Deed:
    """A subcommand that has every process, or the chosen ones, do something."""

    def __init__(
        self,
        command: str,
        summary: str,
        add_arguments: Callable[[ArgumentParser], None] = lambda _: None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.command = command
        self.__doc__ = summary
        self._add_arguments = add_arguments
        #: The options that are sent along.
        self._names = names

    def add_arguments(self, parser: ArgumentParser) -> None:
        processes.add_arguments(parser, can_be_json=False)
        self._add_arguments(parser)
        add_yes(parser)

    def run(self, options: dict[str, Any]) -> str:
        arguments = {name: options[name] for name in self._names}
        replies = processes.ask_them("status", options)
        chosen = [reply for reply in replies if reply.records("pools")]
        if not chosen:
            raise CommandError("\n".join(processes.describe_silent(replies)) or _no_process())
        whose = ", ".join(f"{one.pid} ({one.role})" for one in chosen)
        pools = f"the pool of {options['alias']!r}" if options["alias"] else "every pool"
        confirm(f"{self.command.capitalize()} {pools} in {whose}?", options)
        done = ask(
            self.command,
            {"alias": options["alias"], **arguments},
            pids={reply.pid for reply in chosen},
            all_projects=True,
            timeout=PATIENCE + float(arguments.get("timeout") or 0.0),
        )
        return "\n".join(map(describe_deed, done))


def add_yes(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="Do not ask.")


def confirm(question: str, options: dict[str, Any]) -> None:
    """Go on only if the user says so; raises ``CommandError`` otherwise."""
    if options["yes"]:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} There is no terminal to ask: give --yes to do it.")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise CommandError("Nothing was done.")


def describe_deed(reply: Reply) -> str:
    """What came of it in one process."""
    if reply.error:
        return f"{reply.pid}: {reply.error}"
    parts = []
    for key, word in (("done", "done"), ("failed", "not done")):
        names = reply.answer.get(key)
        if isinstance(names, list) and names:
            parts.append(f"{word}: {', '.join(map(str, names))}")
    return f"{reply.pid}: {'; '.join(parts) or 'it has no such pool'}"


def _no_process() -> str:
    return "No process has such a pool; 'connmgr status' shows those that there are."


def _add_timeout(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=30.0, help="Seconds to wait for leases to end; 30."
    )


def _add_sizes(parser: ArgumentParser) -> None:
    parser.add_argument("max_size", help="The most connections of each pool; none for no limit.")
    parser.add_argument("--min-size", help="As many are kept open; unchanged without this.")


recycle = Deed("recycle", "Replace every connection: idle ones now, others when they come back.")
suspend = Deed("suspend", "Hand out no connection until resume: acquires wait, and may time out.")
resume = Deed("resume", "Undo suspend.")
drain = Deed(
    "drain",
    "As recycle, and wait until every connection that is open now is closed.",
    _add_timeout,
    ("timeout",),
)
resize = Deed("resize", "Change how many connections each pool may have.", _add_sizes,
              ("max_size", "min_size"))  # fmt: skip
