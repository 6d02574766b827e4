"""The pools of this process: made once, closed at exit, emptied in a forked child."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from ._pool.pool import ConnectionPool
from ._pool.reaper import reaper

#: How long the exit of the process may wait for the background thread, in seconds.
EXIT_PATIENCE = 0.05


class _Entry(NamedTuple):
    pool: ConnectionPool[Any]
    alias: str
    #: The settings that the pool was made from, to notice that they were changed in place.
    source: object


class Registry:
    """Pools by what makes them different: the alias and the server that it points to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Never held while a pool's method runs.
        self._entries: dict[Hashable, _Entry] = {}  # Changed under _lock, read without it

    def get(self, key: Hashable) -> ConnectionPool[Any] | None:
        """The pool for ``key``, if there is one. A single dict operation, so no lock."""
        entry = self._entries.get(key)
        return None if entry is None else entry.pool

    def get_or_make(
        self, key: Hashable, alias: str, source: object, make: Callable[[], ConnectionPool[Any]]
    ) -> ConnectionPool[Any]:
        """The pool for ``key``, made on the first call.

        If ``source`` made another pool of that alias, it has been changed in place (as the
        test runner does when it swaps database names), and that pool is closed.
        """
        candidate = make()  # Opens nothing, so it does not matter if it loses the race.
        with self._lock:
            entry = self._entries.setdefault(key, _Entry(candidate, alias, source))
            stale = [
                other
                for other, known in self._entries.items()
                if other != key and known.alias == alias and known.source is source
            ]
            stale_pools = [self._entries.pop(other).pool for other in stale]
        for pool in stale_pools:
            pool.close()
        return entry.pool

    def close(self, alias: str) -> None:
        """Close every pool of ``alias``; the next use makes a new one."""
        with self._lock:
            keys = [key for key, entry in self._entries.items() if entry.alias == alias]
            closing = [self._entries.pop(key).pool for key in keys]
        for pool in closing:
            pool.close()

    def all(self) -> list[ConnectionPool[Any]]:
        """Every pool that was made and not closed, oldest first."""
        return [entry.pool for entry in self._entries.copy().values()]

    def shut_down(self) -> None:
        """At exit: say goodbye on idle connections, and wait for nobody."""
        for pool in self.all():
            pool.close(linger=False)
        reaper.stop(EXIT_PATIENCE)

    def after_fork(self) -> None:
        """In the child: the pools stay, empty; the thread that looks after them is gone."""
        self._lock = threading.Lock()
        reaper.after_fork()
        for pool in self.all():
            pool.after_fork()


registry = Registry()
