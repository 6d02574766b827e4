"""Database errors, by the words that clients are told."""

from __future__ import annotations

import enum

from django.db import Error

from django_connmgr import PoolTimeout


class Failure(enum.StrEnum):
    """The ``error`` of a response with status 503."""

    #: The database server ended the connection during this request.
    KILLED = "connection-killed"
    #: The server takes no more connections.
    SERVER_FULL = "server-full"
    #: No connection became free in time.
    POOL_TIMEOUT = "pool-timeout"
    OTHER = "database-error"


#: SQLSTATEs, and parts of libpq's messages for errors without one.
_SIGNS = {
    Failure.KILLED: (
        "57P01",
        "terminating connection due to administrator command",
        "server closed the connection unexpectedly",
    ),
    Failure.SERVER_FULL: ("53300", "too many clients", "remaining connection slots"),
}


def failure_of(error: Error) -> Failure:
    """The failure that a database error stands for."""
    if isinstance(error, PoolTimeout):
        return Failure.POOL_TIMEOUT
    text = f"{getattr(error.__cause__, 'sqlstate', None)} {error}"
    for failure, signs in _SIGNS.items():
        if any(sign in text for sign in signs):
            return failure
    return Failure.OTHER
