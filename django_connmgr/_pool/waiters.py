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

    #: Served or refused, and out of the queue.
    is_out = False
    #: Whether what it was served came from the hands of another, who has just used it.
    is_warm = False
    #: Whether it looks for itself as soon as it is old; see ``Line.next_look``.
    is_alert = False
    #: Not to wait for one to come back where it might connect; see ``Pace``.
    is_hurried = False
    #: What it gets instead of a slot.
    error: Exception | None = None
    #: From the moment that it stands in line.
    bell: Bell

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
        #: Until when it has to have a connection.
        self.deadline = deadline
        self.lease = lease
        self.owner = owner

    def refuse(self, error: Exception) -> None:
        """It does not get into the queue."""
        self.error = error
        self.is_out = True
