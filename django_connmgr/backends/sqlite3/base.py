"""``ENGINE = "django_connmgr.backends.sqlite3"``."""

import sqlite3
from collections.abc import Callable
from typing import Any, Self

from django.db.backends.sqlite3 import base as stock

from ..._pool.driver import ConnectionState
from .. import sockets
from ..cursors import HOLDING
from ..driver import PhysicalDriver
from ..wrapper import PooledWrapper


class _PlainCursor(sqlite3.Cursor):
    """Takes ``None`` for no parameters, as cursors that hold are made to hand on."""

    def execute(self, sql: str, parameters: Any = None, /) -> Self:
        return super().execute(sql, () if parameters is None else parameters)


class HoldingConnection:
    """Mixed in before a class of connections: makes cursors that hold, of whichever class."""

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        plain = _PlainCursor if factory is sqlite3.Cursor else factory
        return super().cursor(HOLDING[plain])  # type: ignore[misc]


class SQLiteDriver(PhysicalDriver):
    """A file has no other end: it neither hangs up nor answers. But code may close it."""

    error = sqlite3.Error
    restored = ("isolation_level", "row_factory", "text_factory")
    pictured = (*restored, "in_transaction")

    def watch_raw(self, raw: sqlite3.Connection) -> Callable[[], object]:
        return lambda: self.state_of(raw) is ConnectionState.UNUSABLE

    def state_of(self, raw: sqlite3.Connection) -> ConnectionState:
        try:
            is_in_transaction = raw.in_transaction
            raw.total_changes  # noqa: B018 - raises if the connection is closed
        except sqlite3.Error:
            return ConnectionState.UNUSABLE
        return ConnectionState.IN_TRANSACTION if is_in_transaction else ConnectionState.IDLE

    def close_all(self, raws: list[sqlite3.Connection], *, linger: bool) -> None:  # noqa: ARG002
        for raw in raws:
            raw.close()

    def end_session(self, raw: sqlite3.Connection) -> None:
        raw.interrupt()  # SQLite lets any thread do both: its connections are serialised.
        super().end_session(raw)

    def disown(self, raw: sqlite3.Connection) -> None:
        # https://sqlite.org/howtocorrupt.html: a child must not even close it.
        sockets.disown(raw)


class PooledSQLite(PooledWrapper):
    """Mixed in before any wrapper that is built on Django's for SQLite."""

    driver_class = SQLiteDriver

    def adjust_params(self, params: dict[str, Any], timeout: float) -> None:  # noqa: ARG002
        bases = (HoldingConnection, params.get("factory", sqlite3.Connection))
        params["factory"] = type("HoldingConnection", bases, {})

    def can_be_pooled(self) -> bool:
        # An in-memory database ends with its connection.
        return not self.is_in_memory_db()  # type: ignore[attr-defined]


class DatabaseWrapper(PooledSQLite, stock.DatabaseWrapper):
    """Django's SQLite backend on pooled connections."""
