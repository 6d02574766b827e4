"""How a psycopg 2 connection is checked, closed and abandoned."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2 import extensions

from ..._pool.driver import ConnectionState
from .. import sockets
from .common import GOODBYE, PostgreSQLDriver

_STATES = {
    extensions.TRANSACTION_STATUS_IDLE: ConnectionState.IDLE,
    extensions.TRANSACTION_STATUS_INTRANS: ConnectionState.IN_TRANSACTION,
    extensions.TRANSACTION_STATUS_INERROR: ConnectionState.IN_TRANSACTION,
}


class Psycopg2Driver(PostgreSQLDriver):
    restored = ("autocommit", "isolation_level", "readonly", "deferrable", "cursor_factory")

    pictured = (*restored, "closed", "info.transaction_status")

    def watch_raw(self, raw: Any) -> Callable[[], object]:
        return sockets.watch(raw.fileno())

    def pid_of(self, raw: Any) -> int | None:
        pid: int = raw.info.backend_pid
        return pid

    def ping(self, raw: Any, timeout: float) -> bool:  # noqa: ARG002 - see below
        # psycopg 2 waits inside libpq, out of reach of any timeout but TCP's own
        # (``tcp_user_timeout`` and ``keepalives_idle`` in OPTIONS).
        try:
            with raw.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            return False
        return True

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        with raw.cursor() as cursor:
            cursor.execute(sql, params)

    def state_of(self, raw: Any) -> ConnectionState:
        if raw.closed:
            return ConnectionState.UNUSABLE
        return _STATES.get(raw.info.transaction_status, ConnectionState.UNUSABLE)

    def close_all(self, raws: list[Any], *, linger: bool) -> None:
        lines = []
        for raw in raws:
            try:
                if linger:
                    if raw.info.transaction_status == extensions.TRANSACTION_STATUS_ACTIVE:
                        raw.cancel()
                    lines.append(os.dup(raw.fileno()))
                raw.close()
            except (psycopg2.Error, OSError):
                raw.close()  # Broken already: there is nobody to say goodbye to.
        sockets.await_hangups(lines, GOODBYE)

    def disown(self, raw: Any) -> None:
        try:
            fd = raw.fileno()
        except psycopg2.Error:
            fd = -1  # Closed before the fork.
        sockets.disown(fd, raw)
