"""What both drivers for PostgreSQL share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..driver import PhysicalDriver
from ..physical import Physical

#: How long to wait for a server process to end after a goodbye, in seconds. It takes one
#: or two milliseconds; until then the server counts the connection as open.
GOODBYE = 0.1

#: SQLSTATE too_many_connections.
TOO_MANY_CONNECTIONS = "53300"
#: libpq does not hand out the SQLSTATE of a refused connection, so its words must serve.
_REFUSALS = ("too many clients", "too many connections", "remaining connection slots")


class PostgreSQLDriver(PhysicalDriver):
    def session_of(self, raw: Any) -> Mapping[str, Any]:
        return {"TimeZone": raw.info.parameter_status("TimeZone")}

    def reset_session(self, connection: Physical) -> bool:
        # DISCARD ALL, because RESET ALL leaves the role, locks, temporary tables and more.
        # It is never prepared, or it would discard itself, and never in a transaction.
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

    def execute(self, raw: Any, sql: str, params: tuple[str, ...] | None = None) -> None:
        """Send one statement, unprepared."""
        raise NotImplementedError

    def is_overloaded(self, error: Exception) -> bool:
        sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if sqlstate is not None:
            return bool(sqlstate == TOO_MANY_CONNECTIONS)
        message = str(error)
        return any(words in message for words in _REFUSALS)
