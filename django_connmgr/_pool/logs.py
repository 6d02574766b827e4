"""The pools' log, in which nothing is said too often."""

import logging
import threading
import time
from collections.abc import Callable

#: The same message of the same pool, so many times in so many seconds; more are counted.
MOST = 5
PERIOD = 60.0
#: As many different messages are told apart.
MOST_KINDS = 1000


class Moderation(logging.Filter):
    """Leaves out what was said often enough of late, and says how much it left out.

    Messages are the same if they have the same text before their values are put in, or the same
    ``kind`` in ``extra``, and the same ``pool`` there.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        # A finaliser may log in the middle of this, on the same thread.
        self._lock = threading.RLock()
        #: By kind: when the period began, how many were said in it, how many left out.
        self._said: dict[object, tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = getattr(record, "kind", None) or str(record.msg)
        kind = (record.name, record.levelno, text, getattr(record, "pool", None))
        now = self._now()
        with self._lock:
            if len(self._said) >= MOST_KINDS:
                self._said.clear()
            began, said, left_out = self._said.get(kind, (now, 0, 0))
            if now - began >= PERIOD:
                began, said = now, 0
            if said >= MOST:
                self._said[kind] = (began, said, left_out + 1)
                return False
            self._said[kind] = (began, said + 1, 0)
        if left_out:
            record.msg = f"{record.msg} (Of these, {left_out} were left out meanwhile.)"
        return True

    def after_fork(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self._lock = threading.RLock()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._said.clear()


moderation = Moderation()
logger = logging.getLogger("django_connmgr.pool")
for _name in ("pool", "backends", "reaper"):
    logging.getLogger(f"django_connmgr.{_name}").addFilter(moderation)
