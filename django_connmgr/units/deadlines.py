"""The thread that ends what is leased in units of work whose deadlines have passed."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from .._pool.background import start_thread
from .._pool.scope import timed
from ..forks import in_child
from .timed import TimedScope

logger = logging.getLogger("django_connmgr.units")

#: Seconds until the next look at a unit whose deadline has passed and that goes on. It gets nothing
#: more, but for what it was leasing or connecting at that moment.
LOOK_AGAIN = 0.05


class Deadlines:
    """Looks at every unit with a deadline when that passes, and again until the unit is over.

    The thread starts with the first unit, and ends when it wakes up and there is none. It looks
    only; to kill takes a round trip, so each unit gets a thread for that, and a server that does
    not answer delays no other's deadline.
    """

    def __init__(self) -> None:
        # Guards what follows. Reentrant: a finaliser may begin or end a unit on the same thread.
        # Nothing is locked under it.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # The clock's, when the thread looked last, and when it looks next.
        self._looked_at = self._looks_at = float("-inf")
        #: What ends the leases of a unit right now; the background thread's own.
        self._ending: dict[TimedScope, threading.Thread] = {}

    def watch(self, scope: TimedScope) -> None:
        """End what is leased in ``scope`` at its deadline, if it is not over by then."""
        with self._changed:
            timed[scope] = None
            if self._thread is None or not self._thread.is_alive():
                self._looks_at = float("-inf")
                self._thread = start_thread(self._run, "django-connmgr-deadlines")
            elif scope.deadline.at < self._looks_at:
                self._changed.notify()

    def after_fork(self) -> None:
        """In the child: its threads are gone, and what is leased is the parent's."""
        timed.clear()
        Deadlines.__init__(self)

    def _run(self) -> None:
        while (overdue := self._await_overdue()) is not None:
            for scope in overdue:
                _log_errors(self._look_at, scope)

    def _await_overdue(self) -> list[TimedScope] | None:
        """Sleep until a look is due; the units that are overdue then, ``None`` at the end."""
        with self._changed:
            if not timed:
                self._thread = None  # Under the lock: the next unit starts another one.
                return None
            again = self._looked_at + LOOK_AGAIN
            ats = [scope.deadline.at for scope in timed.copy()]
            self._looks_at = min(at if at > self._looked_at else again for at in ats)
            self._changed.wait(max(self._looks_at - time.monotonic(), 0.0))
            now = self._looked_at = time.monotonic()
            return [scope for scope in timed.copy() if scope.deadline.at <= now]

    def _look_at(self, scope: TimedScope) -> None:
        ending = self._ending.pop(scope, None)
        if ending is None or not ending.is_alive():
            if not scope.has_leases():
                return
            ending = start_thread(partial(_log_errors, scope.expire), "django-connmgr-deadline")
        if ending is not None:
            self._ending[scope] = ending


def _log_errors(function: Callable[..., object], *args: object) -> None:
    """The next look tries again."""
    try:
        function(*args)
    except Exception:
        logger.exception("What was leased at a deadline could not be ended.")


deadlines = Deadlines()
in_child(deadlines.after_fork)
