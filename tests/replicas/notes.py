"""Rows by which a test sees what has reached a server."""

from __future__ import annotations

from testproject.cluster import DATABASE
from testproject.member import Member
from testproject.waiting import until


def note(server: Member, text: str) -> None:
    """Write a row, in a transaction of its own."""
    with server.connect(DATABASE) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        connection.execute("INSERT INTO note VALUES (%s)", [text])


def has_note(server: Member, text: str) -> bool:
    return bool(server.ask("SELECT count(*) FROM note WHERE text = %s", text, database=DATABASE))


def await_received(standby: Member, position: int) -> None:
    """Until a standby that need not replay it has so much of the WAL."""
    received = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint"
    until(lambda: standby.ask(received) >= position, lambda: f"{standby.name} receives")
