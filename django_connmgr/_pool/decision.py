"""What was decided under the lock and is to be done without it."""

from __future__ import annotations

from typing import Generic

from .clock import Bell
from .driver import C
from .lease import Lease
from .slot import CloseReason


class Decision(Generic[C]):
    """Which bells to ring, which connections to close, and what to log."""

    __slots__ = ("close", "reaped", "wake")

    def __init__(
        self, wake: Bell | None = None, *, close: tuple[Lease[C], CloseReason] | None = None
    ) -> None:
        self.wake: list[Bell] = [] if wake is None else [wake]
        #: Leases on slots in MAINTENANCE; the slots leave the pool when their connections are
        #: closed.
        self.close: list[tuple[Lease[C], CloseReason]] = [] if close is None else [close]
        #: Names of owners that ended or forgot a lease.
        self.reaped: list[str] = []

    def add(self, other: Decision[C]) -> None:
        """Do what was decided in ``other``, too."""
        self.wake += other.wake
        self.close += other.close
        self.reaped += other.reaped
