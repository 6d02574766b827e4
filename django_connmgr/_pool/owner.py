"""Who may hold leases: a thread, or a greenlet where gevent has patched ``threading``."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .slot import Slot


#: Coming back within so many seconds is coming back at once. Building a query takes a part of a
#: millisecond, and several times that where other threads build theirs.
AT_ONCE = 0.005
#: So many times in a row, and a thread is expected to do it again. A thread that has other work to
#: do after every second query, as a request has, never does it twice.
BRISK_AFTER = 2


class Owner:
    """One thread, for as long as it lives and for whoever asks about it afterwards."""

    __slots__ = (
        "_thread",
        "activity",
        "has_worked",
        "held",
        "ident",
        "is_dead",
        "left_at",
        "name",
        "returns",
    )

    def __init__(self) -> None:
        thread = threading.current_thread()
        self.ident = threading.get_ident()
        self.name = thread.name
        #: What it is busy with, in words fit for an error message: ``"GET /orders/"``.
        self.activity = ""
        #: Whether a unit of work has begun on it.
        self.has_worked = False
        #: The slots that it holds, each with the number of the lease, except those that it
        #: shares with other threads. Only single dict operations touch it, each atomic,
        #: because leases end on other threads too.
        self.held: dict[Slot[Any], int] = {}
        self._thread = weakref.ref(thread)
        #: Its thread has told so. False proves nothing, because the telling may be
        #: interrupted: see ``is_alive()``.
        self.is_dead = False
        #: When it last stopped using a connection, by the pool's clock.
        self.left_at = float("-inf")
        #: How many times in a row it has come back for one at once after that.
        self.returns = 0

    def note_return(self, now: float) -> None:
        """It comes for a connection again."""
        self.returns = self.returns + 1 if now - self.left_at < AT_ONCE else 0

    def is_alive(self) -> bool:
        """False once the thread has ended. Takes no lock of ours and does no I/O."""
        if self.is_dead:
            return False
        thread = self._thread()
        try:
            return thread is None or thread.is_alive()
        except (RuntimeError, AssertionError):
            return False  # How a thread that Python did not start says that it is gone.

    def die(self) -> None:
        """Tell the pools that this thread is gone.

        Runs in a finaliser of the dying thread, so it only appends to queues and rings
        bells. The number of each lease goes along: a slot that somebody else has leased
        in the meantime carries another number, and the pool ignores the message.
        """
        self.is_dead = True
        for slot, lease_id in self.held.copy().items():
            slot.pool.report_orphan(slot, lease_id)


class _Tombstone:
    """Lives in the thread's local storage and nowhere else: it goes when the thread goes.

    CPython clears a thread's locals on that thread, before ``join()`` returns, with or
    without the garbage collector, and for threads that Python did not start as well.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def __del__(self) -> None:
        owner = getattr(self, "owner", None)  # There is none if it was interrupted at its birth.
        if owner is not None:
            owner.die()


class _Here(threading.local):
    tombstone: _Tombstone | None = None


_here = _Here()


def current_owner() -> Owner:
    """The owner that stands for the calling thread; made at its first call."""
    tombstone = _here.tombstone
    if tombstone is None:
        tombstone = _here.tombstone = _Tombstone(Owner())
    return tombstone.owner
