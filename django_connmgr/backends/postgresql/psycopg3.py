"""How a psycopg 3 connection is checked, closed and abandoned."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus

from ..._pool.driver import ConnectionState
from .. import sockets
from ..cursors import HOLDING
from ..physical import Physical
from .common import GOODBYE, PostgreSQLDriver

#: How long to wait for the server to accept the cancellation of an abandoned query, in seconds.
CANCEL = 1.0

_STATES = {
    TransactionStatus.IDLE: ConnectionState.IDLE,
    TransactionStatus.INTRANS: ConnectionState.IN_TRANSACTION,
    TransactionStatus.INERROR: ConnectionState.IN_TRANSACTION,
}


class Psycopg3Driver(PostgreSQLDriver):
    restored = (
        "autocommit",
        "isolation_level",
        "read_only",
        "deferrable",
        "row_factory",
        "cursor_factory",
        "server_cursor_factory",
        "prepare_threshold",
    )
    pictured = (
        "_autocommit",
        "_isolation_level",
        "_read_only",
        "_deferrable",
        "row_factory",
        "cursor_factory",
        "server_cursor_factory",
        "_prepared.prepare_threshold",
        "pgconn.transaction_status",
        "pgconn.status",
        "pgconn.pipeline_status",
    )

    def prepare(self, raw: Any, wrapper_state: Mapping[str, Any]) -> Physical:
        raw.server_cursor_factory = HOLDING[raw.server_cursor_factory]
        return super().prepare(raw, wrapper_state)

    def watch_raw(self, raw: psycopg.Connection[Any]) -> Callable[[], object]:
        return sockets.watch(raw.pgconn.socket)

    def pid_of(self, raw: psycopg.Connection[Any]) -> int | None:
        return raw.info.backend_pid

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
                    left = max(deadline - time.monotonic(), 0.0)
                    if not sockets.is_readable(pgconn.socket, left):
                        # Nobody is there who would take a cancellation or hang up.
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

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        raw.execute(sql, params, prepare=False)

    def state_of(self, raw: psycopg.Connection[Any]) -> ConnectionState:
        pgconn = raw.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.pipeline_status != PipelineStatus.OFF:
            return ConnectionState.UNUSABLE
        return _STATES.get(TransactionStatus(pgconn.transaction_status), ConnectionState.UNUSABLE)

    def close_all(self, raws: list[psycopg.Connection[Any]], *, linger: bool) -> None:
        lines = []
        for raw in raws:
            try:
                if linger:
                    if raw.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        # Or the server would work on for nobody, and count it against us.
                        raw.cancel_safe(timeout=CANCEL)
                    lines.append(os.dup(raw.pgconn.socket))
                raw.close()
            except (psycopg.Error, OSError):
                raw.close()  # Broken already: there is nobody to say goodbye to.
        sockets.await_hangups(lines, GOODBYE)

    def disown(self, raw: psycopg.Connection[Any]) -> None:
        try:
            fd = raw.pgconn.socket
        except psycopg.Error:
            fd = -1  # Closed before the fork.
        raw._pool = None  # A pool's, in psycopg's own way: it does not ask to be closed.
        sockets.disown(fd, raw)
