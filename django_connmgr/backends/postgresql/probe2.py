"""Probes by psycopg 2's asynchronous connections."""

from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE

from ..._pool.host import Report
from ..probe import POLLIN, POLLOUT, ProbeRefused, ServerFull
from .common import says_full
from .positions import QUERY, as_report


class Probe2:
    """As ``Probe`` says."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = {key: value for key, value in params.items() if key != "cursor_factory"}
        self._connection: Any = None
        self._cursor: Any = None
        self.events = POLLOUT

    def begin(self) -> None:
        if self._connection is None:
            self._connection = psycopg2.connect(**self._params, async_=1)
            self.events = POLLOUT
        else:
            self._ask()

    def advance(self) -> Report | None:
        try:
            status = self._connection.poll()
        except psycopg2.Error as error:
            if error.pgcode is not None and not self._connection.closed:
                raise ProbeRefused(str(error).strip()) from None
            if says_full(str(error)):
                raise ServerFull(str(error).strip()) from None
            raise
        self.events = POLLOUT if status == POLL_WRITE else POLLIN
        if status != POLL_OK:
            return None
        if self._cursor is None:
            self._ask()
            return None
        row = self._cursor.fetchone()
        self._cursor.close()
        return as_report(row)

    def _ask(self) -> None:
        self._cursor = self._connection.cursor()
        self._cursor.execute(QUERY)
        self.events = POLLOUT

    def fileno(self) -> int:
        fd: int = self._connection.fileno()
        return fd

    def close(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()
