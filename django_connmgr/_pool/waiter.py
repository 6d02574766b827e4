"""One thread's place in the queue."""

from __future__ import annotations

from threading import Lock as allocate_lock
from typing import Any

from .clock import Bell
from .lease import Lease
from .owner import Owner
from .scope import Scope


class Waiter(Bell):
    """A bell that rings when a slot is promised to its lease, or when it is refused.

    A waiter that gives up takes itself out of the queue under the pool's lock and looks
    once more whether it was served first. If it cannot even do that (it was interrupted
    twice, say), it stays as a ghost: being served then drops the last reference to its
    lease, which hands the slot on.
    """

    __slots__ = (
        "deadline",
        "decision",
        "error",
        "is_hurried",
        "is_out",
        "lease",
        "lined_up_at",
        "owner",
        "scope",
    )

    def __init__(
        self,
        lease: Lease[Any],
        owner: Owner,
        scope: Scope | None,
        now: float,
        deadline: float,
    ) -> None:
        self._silence = silence = allocate_lock()  # As ``Bell.__init__()``, without a call.
        silence.acquire()
        self.lease = lease
        self.owner = owner
        self.scope = scope
        self.lined_up_at = now
        #: Until when it has to have a connection.
        self.deadline = deadline
        #: Served or refused, and out of the queue.
        self.is_out = False
        #: Not to wait for one to come back where it might connect; see ``Growth``.
        self.is_hurried = False
        #: What it gets instead of a slot.
        self.error: Exception | None = None
        #: What was decided when it entered the queue, for it to act on.
        self.decision: Any = None
