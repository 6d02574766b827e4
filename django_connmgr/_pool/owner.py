"""Who may hold leases: a thread, or a greenlet where gevent has patched ``threading``."""

import threading
import weakref
from typing import Any


class Owner:
    """One thread, while it lives and afterwards."""

    __slots__ = ("_thread", "held", "ident", "is_dead", "name")

    def __init__(self) -> None:
        thread = threading.current_thread()
        self.ident = threading.get_ident()
        self.name = thread.name
        #: The slots that it has or that are warm for it, except those that it shares. Only single
        #: dict operations touch it, each atomic: leases end on other threads too.
        self.held: dict[Any, None] = {}
        self._thread = weakref.ref(thread)
        #: Its thread has told so. False proves nothing: the telling may be interrupted.
        self.is_dead = False

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

        Runs in a finaliser of the dying thread, so it only appends to queues and rings bells. A
        slot that another owner has leased in the meantime is not this one's: see ``Lost``.
        """
        self.is_dead = True
        for slot in self.held.copy():
            slot.lost.report(slot, self)


class _ThreadExit:
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
    """The calling thread's: made at its first look."""

    def __init__(self) -> None:
        self.owner = Owner()
        self._exit = _ThreadExit(self.owner)


#: ``here.owner`` stands for the calling thread.
here = _Here()
