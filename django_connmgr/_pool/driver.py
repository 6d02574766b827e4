"""What the pool asks of a database driver: ten callables and a flag, and nothing else."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Protocol, TypeVar

C = TypeVar("C")


class ConnectionState(enum.Enum):
    """What a connection is in the middle of, as its driver knows without asking the server."""

    IDLE = "idle"
    IN_TRANSACTION = "in transaction"
    #: A query is running or its result unread, the server hung up, or nobody can say.
    UNUSABLE = "unusable"


class Driver(Protocol[C]):
    """One kind of connection. Every method may run on any thread at any time.

    Only the owner of a connection's slot calls these for it, and never under a lock.
    """

    #: Whether a connection is to be looked at before every lease, also if it goes straight
    #: from who has just used it to the next.
    asks_always: bool

    def connect(self, timeout: float) -> C:
        """Open a connection within ``timeout`` seconds, or raise the driver's own error."""

    def is_quiet(self, connection: C) -> bool:
        """True if nothing has arrived on the idle connection's socket. No round trip."""

    def check(self, connection: C, timeout: float) -> bool:
        """Make one round trip; true if the server answered within ``timeout`` seconds."""

    def is_clean(self, connection: C) -> bool:
        """True if the next borrower may have it as it is: idle, and nothing to ``reset()``.

        No round trip, and fast: it saves the two methods below, where they would find nothing.
        """

    def state(self, connection: C) -> ConnectionState:
        """The driver's own view of the connection. No round trip."""

    def rollback(self, connection: C) -> None:
        """End the open transaction, whatever is in it."""

    def reset(self, connection: C) -> bool:
        """Undo what the borrower did to an idle connection; false if it must be replaced."""

    def close(self, connections: Iterable[C], *, linger: bool) -> None:
        """Close them all; never raises.

        With ``linger``, return only when the server has let go of them, within a short
        bound: a place in the pool is not free while the server still counts it as used.
        """

    def abandon(self, connection: C) -> None:
        """After a fork: make sure that this process never again speaks on its socket."""

    def is_overloaded(self, error: Exception) -> bool:
        """True if ``error`` is the server's refusal to take one more connection."""
