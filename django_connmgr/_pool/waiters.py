"""The queue in front of an exhausted pool."""

from __future__ import annotations

from typing import Any

from .clock import Bell
from .owner import Owner
from .slot import Lease


class Waiter:
    """One thread's place in the queue: it is served by a slot promised to its lease.

    A waiter that gives up takes itself out of the queue under the pool's lock and looks
    once more whether it was served first. If it cannot even do that (it was interrupted
    twice, say), it stays as a ghost: being served then drops the last reference to its
    lease, which hands the slot on.
    """

    __slots__ = (
        "bell",
        "deadline",
        "error",
        "is_alert",
        "is_hurried",
        "is_out",
        "is_warm",
        "lease",
        "lined_up_at",
        "owner",
        "since",
    )

    def __init__(
        self,
        lease: Lease[Any],
        owner: Owner,
        since: float,
        lined_up_at: float,
        deadline: float,
    ) -> None:
        #: When its checkout began, which may have stood in line before.
        self.since = since
        self.lined_up_at = lined_up_at
        #: Served or refused, and out of the queue.
        self.is_out = False
        #: Whether what it was served came from the hands of another, who has just used it.
        self.is_warm = False
        #: Whether it looks for itself as soon as it is old; see ``Line.next_look``.
        self.is_alert = False
        #: Until when it has to have a connection.
        self.deadline = deadline
        #: Not to wait for one to come back where it might connect; see ``Pace``.
        self.is_hurried = False
        self.lease = lease
        self.owner = owner
        #: From the moment that it stands in line.
        self.bell: Bell
        #: What it gets instead of a slot.
        self.error: Exception | None = None

    def refuse(self, error: Exception) -> None:
        """It does not get into the queue."""
        self.error = error
        self.is_out = True
