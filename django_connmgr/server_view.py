"""The sessions of a PostgreSQL server, as it tells them itself."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .budget.supply import Supply, ask_postgresql

#: No text of any query: it may have secrets in it.
_SESSIONS = """
SELECT pid, coalesce(application_name, ''), coalesce(host(client_addr), 'local'),
    coalesce(state, ''), usename, datname,
    coalesce(extract(epoch FROM now() - state_change), 0)::float,
    coalesce(extract(epoch FROM now() - xact_start), 0)::float
FROM pg_stat_activity
WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usename IS NOT NULL
    AND pid <> pg_backend_pid()
ORDER BY pid
"""
#: What a role sees of sessions of others that it may not look into.
UNKNOWN = "unknown"
IDLE_IN_TRANSACTION = ("idle in transaction", "idle in transaction (aborted)")


class Session(NamedTuple):
    """One client of the server. Times are in seconds."""

    pid: int
    name: str
    host: str
    state: str
    user: str | None
    database: str | None
    #: Since it is in this state, and since its transaction began; 0 without one.
    state_age: float
    transaction_age: float


@dataclass
class Group:
    """Sessions with the same name, host and state."""

    name: str
    host: str
    state: str
    count: int = 0
    oldest: float = 0.0


@dataclass
class ServerView:
    """One moment of one server."""

    supply: Supply
    sessions: list[Session]
    groups: list[Group] = field(init=False)

    def __post_init__(self) -> None:
        groups: dict[tuple[str, str, str], Group] = {}
        for session in self.sessions:
            key = (session.name, session.host, session.state)
            group = groups.setdefault(key, Group(*key))
            group.count += 1
            group.oldest = max(group.oldest, session.state_age)
        self.groups = sorted(groups.values(), key=lambda group: (-group.count, group.name))

    @property
    def idle_transactions(self) -> list[Session]:
        """Those that sit in a transaction without a query, longest first."""
        found = (one for one in self.sessions if one.state in IDLE_IN_TRANSACTION)
        return sorted(found, key=lambda one: -one.state_age)

    @property
    def has_unknown(self) -> bool:
        return any(session.state == UNKNOWN for session in self.sessions)


def look_at_server(cursor: Any) -> ServerView:
    """Ask by a cursor of Django's; raises its errors."""

    def fetch_row(sql: str) -> Any:
        cursor.execute(sql)
        return cursor.fetchone()

    supply = ask_postgresql(fetch_row)
    cursor.execute(_SESSIONS)
    return ServerView(supply, [_session(row) for row in cursor.fetchall()])


def _session(row: tuple[Any, ...]) -> Session:
    pid, name, host, state, *others = row
    # The text that stands there instead of a query's is no state.
    return Session(pid, name or UNKNOWN, host, state or UNKNOWN, *others)
