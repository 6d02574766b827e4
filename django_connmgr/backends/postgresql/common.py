"""What both drivers for PostgreSQL share."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..._pool.driver import ConnectionState
from ..._pool.host import Report
from .. import sockets
from ..driver import PhysicalDriver
from ..physical import Physical
from .positions import QUERY, as_report

#: Seconds to wait for a server process to end after a goodbye: it takes one or two milliseconds.
GOODBYE = 0.1

#: libpq does not hand out the SQLSTATE of a refused connection, so its words must serve.
_REFUSALS = ("too many clients", "too many connections", "remaining connection slots")

_HAS_WRITTEN = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"

# libpq's ``PGTransactionStatusType``, which is a number to both drivers.
_IDLE, _ACTIVE, _IN_TRANSACTION, _IN_ERROR = range(4)
_STATES = {
    _IDLE: ConnectionState.IDLE,
    _IN_TRANSACTION: ConnectionState.IN_TRANSACTION,
    _IN_ERROR: ConnectionState.IN_TRANSACTION,
}


def says_full(message: str) -> bool:
    """Whether a refused connection was refused because there are too many."""
    return any(words in message for words in _REFUSALS)


class PostgreSQLDriver(PhysicalDriver):
    def watch_raw(self, raw: Any) -> Callable[[], object]:
        return sockets.watch(raw.fileno())

    def pid_of(self, raw: Any) -> int | None:
        pid: int = raw.info.backend_pid
        return pid

    def session_of(self, raw: Any) -> Mapping[str, Any]:
        return {"TimeZone": raw.info.parameter_status("TimeZone")}

    def reset_session(self, connection: Physical) -> bool:
        # DISCARD ALL, because RESET ALL leaves the role, locks, temporary tables and more. It is
        # never prepared, or it would discard itself, and never in a transaction.
        raw = connection.raw
        autocommit, raw.autocommit = raw.autocommit, True
        try:
            self.execute(raw, "DISCARD ALL")
            for name, value in connection.session.items():
                if raw.info.parameter_status(name) != value:
                    self.execute(raw, "SELECT set_config(%s, %s, false)", (name, value))
        finally:
            raw.autocommit = autocommit
        return True

    def state_of(self, raw: Any) -> ConnectionState:
        if raw.closed:
            return ConnectionState.UNUSABLE
        return _STATES.get(raw.info.transaction_status, ConnectionState.UNUSABLE)

    def close_all(self, raws: list[Any], *, linger: bool) -> None:
        lines = []
        for raw in raws:
            try:
                if linger:
                    if raw.info.transaction_status == _ACTIVE:
                        # Or the server would work on in vain, and count it against us.
                        self.cancel(raw)
                    lines.append(os.dup(raw.fileno()))
                raw.close()
            except (self.error, OSError):
                raw.close()  # Broken already: no server is there to say goodbye to.
        sockets.await_hangups(lines, GOODBYE)

    def end_session(self, raw: Any) -> None:
        # Not ``raw.close()``: libpq would free what the other thread is in the middle of using.
        try:
            line = os.dup(raw.fileno())
        except (self.error, OSError):
            return  # It is closed already.
        if raw.info.transaction_status == _ACTIVE:
            with contextlib.suppress(self.error):
                self.cancel(raw)  # Or the server would work on in vain, and count it against us.
        sockets.hang_up(line, GOODBYE)

    def disown(self, raw: Any) -> None:
        try:
            sockets.disown(raw, raw.fileno())
        except self.error:
            sockets.disown(raw)  # Closed before the fork.

    def is_overloaded(self, error: Exception) -> bool:
        sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if sqlstate is not None:
            return bool(sqlstate == "53300")  # too_many_connections
        return says_full(str(error))

    def report_of(self, raw: Any) -> Report | None:
        was_idle = self.state_of(raw) is ConnectionState.IDLE
        row = self.fetch_one(raw, QUERY)
        if was_idle and not raw.autocommit:
            raw.rollback()  # It began a transaction that is not its borrower's.
        return as_report(row)

    def has_written(self, raw: Any) -> bool:
        return self.state_of(raw) is ConnectionState.IN_TRANSACTION and (
            raw.info.transaction_status == _IN_TRANSACTION  # In an error it will be rolled back.
            and self.fetch_one(raw, _HAS_WRITTEN) == (True,)
        )

    def is_standby(self, raw: Any) -> bool | None:
        said = raw.info.parameter_status("in_hot_standby")  # PostgreSQL 14 and later.
        return None if said is None else bool(said == "on")

    def fetch_one(self, raw: Any, sql: str) -> tuple[Any, ...]:
        """The first row of a query, as a tuple, whatever the borrower wants rows to be."""
        raise NotImplementedError

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        """Send one statement, unprepared."""
        raise NotImplementedError

    def cancel(self, raw: Any) -> None:
        """Cancel the query that runs."""
        raise NotImplementedError
