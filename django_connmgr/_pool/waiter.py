"""One thread's place in the queue."""

from threading import Lock
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

    #: Served or refused, and out of the queue.
    is_out = False
    #: What it gets instead of a slot.
    error: Exception | None = None

    def __init__(
        self, lease: Lease[Any], owner: Owner, scope: Scope | None, now: float, timeout: float
    ) -> None:
        self._silence = silence = Lock()  # As ``Bell.__init__()``, without a call.
        silence.acquire()
        self.lease: Any = lease
        self.owner = owner
        self.scope = scope
        self.lined_up_at = now
        #: Until when it has to have a connection.
        self.deadline = now + timeout
