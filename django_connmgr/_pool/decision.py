"""What was decided under the lock and is to be done without it."""

from typing import Generic

from .clock import Bell
from .driver import C
from .lease import Lease
from .slot import CloseReason


class Decision(Generic[C]):
    """Which bells to ring, which connections to close, and what to log."""

    __slots__ = ("close", "reaped", "wake")

    def __init__(self) -> None:
        self.wake: list[Bell] = []
        #: Leases on slots in MAINTENANCE, which leave the pool when their connections are closed.
        self.close: dict[Lease[C], CloseReason] = {}
        #: Names of owners that ended or forgot a lease.
        self.reaped: list[str] = []
