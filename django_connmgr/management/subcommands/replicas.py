"""Ask each replica whether it follows its primary, and how far it is behind."""

from argparse import ArgumentParser
from typing import Any

from django.db import Error, connections

from ...clusters import find_clusters
from .tables import as_table

_COLUMNS = ("alias", "server", "state", "weight", "behind")
_POSITION = (
    "SELECT NOT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN "
    "pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
)
_BEHIND = "SELECT pg_is_in_recovery(), pg_wal_lsn_diff(%s, pg_last_wal_replay_lsn())"


def add_arguments(parser: ArgumentParser) -> None:
    """It takes none."""


def run(options: dict[str, Any]) -> str:  # noqa: ARG001
    rows = [row for primary in find_clusters() for row in _rows_of(primary)]
    if not rows:
        return "No alias of DATABASES has OPTIONS['replica_of'], so there are no replicas."
    return as_table([_COLUMNS, *rows])


def _rows_of(primary: str) -> list[tuple[str, ...]]:
    # A wrapper apart: the caller's may be in a transaction.
    server = type(connections[primary])(connections[primary].settings_dict, primary)
    state, position = _ask(server, _POSITION, "takes writes", "is a standby")
    rows: list[tuple[str, ...]] = [(primary, "", state, "", "")]
    for alias in find_clusters()[primary]:
        reader: Any = getattr(connections[alias], "reader", None)
        if reader is None:
            rows.append((alias, "", "its settings are wrong: run manage.py check", "", ""))
            continue
        for host, settings in reader.role.settings.items():
            server = type(connections[alias])(settings, alias)
            state, behind = _ask(server, _BEHIND, "follows", "takes writes", position)
            away = "" if behind is None else f"{max(int(behind), 0):,} bytes"
            rows.append((alias, host.name, state, f"{host.weight:g}", away))
    return rows


def _ask(wrapper: Any, sql: str, yes: str, no: str, *params: object) -> tuple[str, Any]:
    """A server's state in words, and the second column of its answer."""
    if wrapper.vendor != "postgresql":
        return f"not known on {wrapper.display_name}", None
    try:
        with wrapper.cursor() as cursor:
            cursor.execute(sql, params)
            is_so, value = cursor.fetchone()
    except Error:
        return "cannot be reached", None
    finally:
        wrapper.close()
    return (yes, value) if is_so else (no, None)
