"""How many connections a server takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import Error, connections

_POSTGRESQL = """
SELECT current_setting('max_connections')::int,
    current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0)
"""


class Supply(NamedTuple):
    """The most connections of a server, and how many of them ordinary roles cannot have.

    Without ``most`` there is no limit, or it is not known; ``note`` says so.
    """

    most: int | None
    reserved: int = 0
    note: str = ""

    @property
    def available(self) -> int | None:
        return None if self.most is None else self.most - self.reserved


def ask_server(alias: str) -> Supply:
    """By one query of an alias that leads to the server. Raises nothing."""
    wrapper: Any = connections[alias]
    if wrapper.vendor == "sqlite":
        return Supply(None, note="SQLite has no limit")
    try:
        with wrapper.cursor() as cursor:
            if wrapper.vendor == "postgresql":
                return ask_postgresql(lambda sql: _fetch_row(cursor, sql))
            cursor.execute("SELECT @@max_connections")
            return Supply(cursor.fetchone()[0], reserved=1)  # For an administrator.
    except Error as error:
        return Supply(None, note=f"not known, because it cannot be asked ({_first_line(error)})")


def ask_postgresql(fetch_row: Callable[[str], Any]) -> Supply:
    """By what runs a query and returns its first row."""
    return Supply(*fetch_row(_POSTGRESQL))


def _fetch_row(cursor: Any, sql: str) -> Any:
    cursor.execute(sql)
    return cursor.fetchone()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
