"""How a psycopg 2 connection is looked at, checked and cancelled."""

from typing import Any

import psycopg2
import psycopg2.extensions

from .common import PostgreSQLDriver


class Psycopg2Driver(PostgreSQLDriver):
    # It waits inside libpq: ``ping()`` is out of reach of any timeout but TCP's own
    # (``tcp_user_timeout`` and ``keepalives_idle`` in OPTIONS).

    error = psycopg2.Error
    restored = ("autocommit", "isolation_level", "readonly", "deferrable", "cursor_factory")
    pictured = (*restored, "closed", "info.transaction_status")

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        with raw.cursor() as cursor:
            cursor.execute(sql, params)

    def fetch_one(self, raw: Any, sql: str) -> tuple[Any, ...]:
        with raw.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
            cursor.execute(sql)
            return tuple(cursor.fetchone())

    def cancel(self, raw: Any) -> None:
        raw.cancel()
