"""Lets so many threads through at a time: a pool that costs nothing but the wait."""

from __future__ import annotations

import threading
from collections import deque


class Gate:
    """At most ``size`` threads between ``enter()`` and ``leave()``, first come, first served."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._free = size  # guarded by _lock
        self._waiters = deque[threading.Lock]()  # guarded by _lock

    def enter(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiters.append(turn)
        turn.acquire()

    def leave(self) -> None:
        with self._lock:
            if not self._waiters:
                self._free += 1
                return
            turn = self._waiters.popleft()
        turn.release()
