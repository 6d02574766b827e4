"""What the pool asks of a database driver, and nothing else."""

import enum
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

C = TypeVar("C")


class ConnectionState(enum.Enum):
    """What a connection is in the middle of, as its driver knows without asking the server."""

    IDLE = "idle"
    IN_TRANSACTION = "in transaction"
    #: A query is running or its result unread, the server hung up, or it is unknown.
    UNUSABLE = "unusable"


class Driver(Protocol[C]):
    """One kind of connection. Every method may run on any thread at any time.

    Only the owner of a connection's slot calls these for it, and never under a lock.
    """

    @property
    def look(self) -> Callable[[C], object]:
        """What a borrower can change about a connection, as one value. No round trip.

        If it equals what it was right after opening, the next borrower may have the connection
        as it is, and ``state()`` and ``reset()`` would find nothing. One that raises, or whose
        value equals nothing, has them asked at every release.
        """

    def connect(self, timeout: float) -> C:
        """Open a connection within ``timeout`` seconds, or raise the driver's own error."""

    def watch(self, connection: C) -> Callable[[], object]:
        """What tells, at no round trip, whether something has arrived on the idle socket."""

    def backend_pid(self, connection: C) -> int | None:
        """The server's process for the connection, if there is one. No round trip."""

    def check(self, connection: C, timeout: float) -> bool:
        """Make one round trip; true if the server answered within ``timeout`` seconds."""

    def state(self, connection: C) -> ConnectionState:
        """The driver's own view of the connection. No round trip."""

    def rollback(self, connection: C) -> None:
        """End the open transaction, whatever is in it."""

    def reset(self, connection: C) -> bool:
        """Undo what the borrower did to an idle connection; false if it must be replaced."""

    def close(self, connections: Iterable[C], *, linger: bool) -> None:
        """Close them all; never raises.

        With ``linger``, return only when the server has let go of them, within a short bound:
        until then it counts them.
        """

    def kill(self, connection: C) -> None:
        """End the session while another thread may be using it, whose calls fail from then on.

        What that thread has of the connection stays its own to let go of.
        """

    def abandon(self, connection: C) -> None:
        """After a fork: make sure that this process never again speaks on its socket."""

    def is_overloaded(self, error: Exception) -> bool:
        """True if ``error`` is the server's refusal to take one more connection."""
