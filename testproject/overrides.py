"""What ``ALTER SYSTEM`` has set on a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from .waiting import until


def apply(
    connect: Callable[[], psycopg.Connection[Any]], wanted: Mapping[str, str], *, server: str
) -> None:
    """Set these parameters and no others, and return when new sessions are under them."""
    with connect() as connection:
        present = connection.execute(
            "SELECT name, setting FROM pg_file_settings "
            "WHERE sourcefile LIKE '%postgresql.auto.conf'"
        )
        if dict(present.fetchall()) == wanted:
            return
        connection.execute("ALTER SYSTEM RESET ALL")
        for name, value in wanted.items():
            statement = sql.SQL("ALTER SYSTEM SET {} = {}")
            connection.execute(statement.format(sql.Identifier(name), value))
        loaded = _first(connection, "SELECT pg_conf_load_time()")
        connection.execute("SELECT pg_reload_conf()")

    def is_loaded() -> bool:
        with connect() as connection:
            return bool(_first(connection, "SELECT pg_conf_load_time()") > loaded)

    until(is_loaded, lambda: f"{server} reads its settings again")


def _first(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row and row[0]
