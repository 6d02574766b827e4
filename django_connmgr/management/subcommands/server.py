"""Show the sessions of a PostgreSQL server by application, host and state, against its limits."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections

from ...inspection.client import ask
from ...server_view import ServerView, Session, look_at_server
from .leases import describe_place
from .tables import as_duration, as_table, clean, shorten, wrap

_GRANT = (
    "Of sessions of other roles only the number is known to this role: GRANT pg_read_all_stats to "
    "it to see more."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--alias", default=DEFAULT_DB_ALIAS, help="Which server; default.")
    parser.add_argument("--json", action="store_true", help="Print all of it, as JSON.")


def run(options: dict[str, Any]) -> str:
    alias = options["alias"]
    if alias not in connections:
        raise CommandError(f"There is no alias {alias!r}; there are: {', '.join(connections)}.")
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql":
        raise CommandError(f"{alias!r} is {wrapper.display_name}; PostgreSQL shows its sessions.")
    try:
        with wrapper.cursor() as cursor:
            view = look_at_server(cursor)
    except Error as error:
        raise CommandError(f"The server cannot be asked: {str(error).strip()}") from None
    holders = _holders() if view.idle_transactions else {}
    return _as_json(view, holders) if options["json"] else _describe(view, holders)


def _holders() -> dict[int, dict[str, Any]]:
    """Leases of processes on this host, with stacks, by the server's process."""
    return {
        lease["backend_pid"]: {**lease, "process": reply.pid}
        for reply in ask("leases", {"stacks": True}, all_projects=True)
        for lease in reply.records("leases")
        if lease.get("backend_pid")
    }


def _describe(view: ServerView, holders: dict[int, dict[str, Any]]) -> str:
    rows = [
        (
            shorten(group.name, 30),
            shorten(group.host, 15),
            shorten(group.state, 19),
            str(group.count),
            as_duration(group.oldest),
        )
        for group in view.groups
    ]
    heads = ("application", "host", "state", "count", "oldest")
    supply, total = view.supply, len(view.sessions)
    parts = [as_table([heads, *rows]), ""] if rows else []
    parts.append(
        f"{total} of {supply.available} connections are in use "
        f"({supply.most} less {supply.reserved} reserved)."
    )
    parts += wrap(_GRANT, "") if view.has_unknown else []
    for session in view.idle_transactions:
        parts += ["", *_describe_idle(session, holders.get(session.pid))]
    return "\n".join(parts)


def _describe_idle(session: Session, lease: dict[str, Any] | None) -> list[str]:
    """A transaction without a query, and whose it is, if that is one of ours."""
    lines = wrap(
        f"Backend {session.pid} ({session.name}) sits in a transaction of "
        f"{as_duration(session.transaction_age)} without a query for "
        f"{as_duration(session.state_age)}.",
        "",
    )
    if lease is None or not _is_same(session, lease):
        return lines
    unit = lease.get("unit") or "no unit of work"
    lines.append(clean(f"  process {lease['process']}, thread {lease.get('owner')}, {unit}"))
    return lines + describe_place("now", lease.get("stack"))


def _is_same(session: Session, lease: dict[str, Any]) -> bool:
    """Another server may have a process of the same number, so the names must agree, too."""
    parts = session.name.split(":")
    named_by_us = len(parts) == 4 and parts[2].isdecimal()
    return not named_by_us or int(parts[2]) == lease["process"]


def _as_json(view: ServerView, holders: dict[int, dict[str, Any]]) -> str:
    idle = [{**one._asdict(), "lease": holders.get(one.pid)} for one in view.idle_transactions]
    return json.dumps({
        "most": view.supply.most,
        "reserved": view.supply.reserved,
        "sessions": [session._asdict() for session in view.sessions],
        "groups": [vars(group) for group in view.groups],
        "idle_transactions": idle,
    })  # fmt: skip
