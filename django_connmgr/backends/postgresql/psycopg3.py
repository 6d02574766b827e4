"""How a psycopg 3 connection is looked at, checked and cancelled."""

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus
from psycopg.rows import tuple_row

from ..._pool.driver import ConnectionState
from .. import sockets
from ..cursors import HOLDING
from ..physical import Physical
from .common import PostgreSQLDriver

#: How long to wait for the server to accept the cancellation of an abandoned query, in seconds.
CANCEL = 1.0

#: What is restored, and where psycopg keeps it, which is faster to read than its properties.
_KEPT = {
    "autocommit": "_autocommit",
    "isolation_level": "_isolation_level",
    "read_only": "_read_only",
    "deferrable": "_deferrable",
    "row_factory": "row_factory",
    "cursor_factory": "cursor_factory",
    "server_cursor_factory": "server_cursor_factory",
    "prepare_threshold": "_prepared.prepare_threshold",
}
_STATUS = ("pgconn.transaction_status", "pgconn.status", "pgconn.pipeline_status")


class Psycopg3Driver(PostgreSQLDriver):
    error = psycopg.Error
    restored = tuple(_KEPT)
    pictured = (*_KEPT.values(), *_STATUS)

    def prepare(self, raw: Any, wrapper_state: Mapping[str, Any]) -> Physical:
        raw.server_cursor_factory = HOLDING[raw.server_cursor_factory]
        return super().prepare(raw, wrapper_state)

    def ping(self, raw: psycopg.Connection[Any], timeout: float) -> bool:
        # An empty query by hand, because ``execute()`` knows no time limit: a server that
        # is frozen or unreachable would hold the checkout for as long as TCP tries.
        deadline = time.monotonic() + timeout
        pgconn = raw.pgconn
        try:
            pgconn.send_query(b"")
            pgconn.flush()
            while True:
                while pgconn.is_busy():
                    if not sockets.is_readable(pgconn.socket, deadline - time.monotonic()):
                        # No server is there that would take a cancellation or hang up.
                        raw.close()
                        return False
                    pgconn.consume_input()
                if pgconn.get_result() is None:
                    return self.state_of(raw) is ConnectionState.IDLE
        except (psycopg.Error, OSError):
            return False

    def reset_session(self, connection: Physical) -> bool:
        is_reset = super().reset_session(connection)
        # Older versions do not forget what they prepared when the server discards it.
        connection.raw._prepared.clear()
        return is_reset

    def state_of(self, raw: psycopg.Connection[Any]) -> ConnectionState:
        if raw.pgconn.pipeline_status != PipelineStatus.OFF:
            return ConnectionState.UNUSABLE
        return super().state_of(raw)

    def end_session(self, raw: psycopg.Connection[Any]) -> None:
        raw._pool = None  # As below.
        super().end_session(raw)

    def disown(self, raw: psycopg.Connection[Any]) -> None:
        raw._pool = None  # A pool's, in psycopg's own way: it does not ask to be closed.
        super().disown(raw)

    def fetch_one(self, raw: Any, sql: str) -> tuple[Any, ...]:
        with psycopg.Cursor(raw, row_factory=tuple_row) as cursor:
            row: Any = cursor.execute(sql, prepare=False).fetchone()
        return tuple(row)

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        raw.execute(sql, params, prepare=False)

    def cancel(self, raw: psycopg.Connection[Any]) -> None:
        raw.cancel_safe(timeout=CANCEL)
