"""Probes by psycopg 3's binding of libpq."""

from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus, PGconn, PollingStatus

from ..._pool.host import Report
from ..probe import POLLIN, POLLOUT, ProbeRefused, ServerFull
from .common import says_full
from .positions import QUERY, as_report

#: What Django hands to psycopg, and psycopg does not hand to libpq.
_NOT_OF_LIBPQ = ("context", "cursor_factory", "prepare_threshold", "autocommit", "row_factory")


class Probe3:
    """As ``Probe`` says."""

    def __init__(self, params: dict[str, Any]) -> None:
        known = {key: value for key, value in params.items() if key not in _NOT_OF_LIBPQ}
        self._address = make_conninfo(**known).encode()
        self._connection: Any = None
        self._is_open = False
        self._report: Report | None = None
        self.events = POLLOUT

    def begin(self) -> None:
        if self._connection is None:
            self._connection = PGconn.connect_start(self._address)
            if self._connection.status == ConnStatus.BAD:
                raise _failure_of(self._connection)
            self.events = POLLOUT
        else:
            self._ask()

    def advance(self) -> Report | None:
        connection = self._connection
        if not self._is_open:
            status = connection.connect_poll()
            if status == PollingStatus.FAILED:
                raise _failure_of(connection)
            self.events = POLLOUT if status == PollingStatus.WRITING else POLLIN
            if status == PollingStatus.OK:
                self._is_open, connection.nonblocking = True, 1
                self._ask()
            return None
        if self.events == POLLOUT:
            self.events = POLLOUT if connection.flush() else POLLIN
            return None
        connection.consume_input()
        while not connection.is_busy():
            result = connection.get_result()
            if result is None:
                return self._report
            if result.status != ExecStatus.TUPLES_OK:
                raise ProbeRefused(result.error_message.decode("utf-8", "replace").strip())
            values = [_text_of(result, column) for column in range(result.nfields)]
            self._report = as_report(tuple(values))
        return None

    def _ask(self) -> None:
        self._report = None
        self._connection.send_query(QUERY.encode())
        self.events = POLLOUT if self._connection.flush() else POLLIN

    def fileno(self) -> int:
        socket: int = self._connection.socket
        return socket

    def close(self) -> None:
        connection, self._connection, self._is_open = self._connection, None, False
        if connection is not None:
            connection.finish()


def _text_of(result: Any, column: int) -> str | None:
    value: bytes | None = result.get_value(0, column)
    return None if value is None else value.decode()


def _failure_of(connection: Any) -> Exception:
    message = str(connection.error_message.decode("utf-8", "replace")).strip()
    return ServerFull(message) if says_full(message) else psycopg.OperationalError(message)
