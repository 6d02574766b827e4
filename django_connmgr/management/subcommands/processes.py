"""The processes that a subcommand asks, as its arguments say."""

import json
import socket
from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError
from django.db import connections

from ...inspection.client import Reply, ask
from ...project import project_name

NONE = (
    "No process of project {0!r} on this host has used a pool yet. One\n"
    "answers from its first query on, unless CONNMGR['INSPECT'] is False. Those\n"
    "of other projects are shown with --all-projects, those of other users to root."
)


def add_arguments(parser: ArgumentParser, *, can_be_json: bool = True) -> None:
    parser.add_argument("--pid", type=int, action="append", help="Only this process; repeatable.")
    parser.add_argument("--alias", help="Only pools of this alias.")
    parser.add_argument(
        "--all-projects", action="store_true", help="Processes of other projects, too."
    )
    if can_be_json:
        parser.add_argument("--json", action="store_true", help="Print all of it, as JSON.")


def ask_them(command: str, options: dict[str, Any], **arguments: Any) -> list[Reply]:
    """Their replies, those that failed too; raises ``CommandError`` for an unknown alias."""
    alias = options["alias"]
    if alias and not options["all_projects"] and alias.partition("@")[0] not in connections:
        known = ", ".join(connections)
        raise CommandError(f"There is no alias {alias!r}; there are: {known}.")
    return ask(
        command,
        {"alias": alias, **arguments},
        pids=set(options["pid"]) if options["pid"] else None,
        all_projects=options["all_projects"],
    )


def describe_none() -> str:
    if not hasattr(socket, "AF_UNIX"):
        return "Processes cannot be asked here: this platform has no Unix sockets."
    return NONE.format(project_name())


def describe_silent(replies: list[Reply]) -> list[str]:
    """A line for each process that did not answer."""
    return [f"Process {reply.pid}: {reply.error}" for reply in replies if reply.error]


def by_project(replies: list[Reply]) -> list[tuple[str, list[Reply]]]:
    """What there is to say above the processes of each project: nothing if there is one only."""
    projects = sorted({reply.project for reply in replies})
    if len(projects) == 1:
        return [("", replies)]
    return [
        (f"Project {name!r}:\n", [reply for reply in replies if reply.project == name])
        for name in projects
    ]


def as_json(replies: list[Reply]) -> str:
    """All that they said."""
    return json.dumps([{"pid": one.pid, "error": one.error, **one.answer} for one in replies])
