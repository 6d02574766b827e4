"""The pools of this process: made once, closed at exit, emptied in a forked child."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from ._pool import report
from ._pool.logs import moderation
from ._pool.pool import ConnectionPool
from ._pool.reaper import reaper

#: How long the exit of the process may wait for the background thread, in seconds.
EXIT_PATIENCE = 0.05


Pool = ConnectionPool[Any]


class Address(NamedTuple):
    """What makes pools different: one alias may lead to several servers, as replicas' do."""

    alias: str
    database: Hashable
    #: The user, and every option that is not the pool's own.
    session: Hashable


class Registry:
    """Pools by address.

    Settings that change in place lead to another address, and so to another pool. Wrappers that
    have not noticed yet use the one before; its idle connections end by ``max_idle``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Never held while a pool's method runs.
        self._pools: dict[Address, Pool] = {}  # Changed under _lock, read without

    def get_or_make(self, address: Address, make: Callable[[], Pool]) -> Pool:
        """The pool for ``address``, made on the first call."""
        known = self._pools.get(address)
        if known is not None:
            return known
        candidate = make()  # Opens nothing, so it does not matter if it loses the race.
        with self._lock:
            return self._pools.setdefault(address, candidate)

    def close(self, alias: str, database: Hashable = None) -> None:
        """Close every pool of ``alias`` or to ``database``; the next use makes new ones."""
        with self._lock:
            pools = [
                self._pools.pop(address)
                for address in list(self._pools)
                if address.alias == alias or (database is not None and address.database == database)
            ]
        for pool in pools:
            pool.close()

    def all(self) -> list[Pool]:
        """Every pool that was made and not closed, oldest first."""
        return list(self._pools.copy().values())

    def shut_down(self) -> None:
        """At exit: say goodbye on idle connections, and wait for nothing."""
        for pool in self.all():
            pool.shut_down()
        reaper.stop(EXIT_PATIENCE)

    def after_fork(self) -> None:
        """In the child: the pools stay, empty; the thread that looks after them is gone."""
        self._lock = threading.Lock()
        moderation.after_fork()
        report.after_fork()
        reaper.after_fork()
        for pool in self.all():
            pool.after_fork()


registry = Registry()
