"""The one background thread of a process, for all its pools."""

import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from .clock import Bell

logger = logging.getLogger("django_connmgr.reaper")


class Maintained(Protocol):
    """What the reaper looks after: a pool."""

    name: str

    @property
    def reap_interval(self) -> float: ...

    def maintain(self) -> None: ...
    def reap(self) -> None: ...
    def has_lost(self) -> bool: ...


class Reaper:
    """Runs ``maintain()`` of every watched pool each ``reap_interval`` seconds of it.

    The thread starts with the first pool and ends with the last. It holds pools weakly: a pool
    that is not used any more does not live on because it is looked after.
    """

    def __init__(self) -> None:
        # Never held while a pool's method runs, nor taken under a pool's lock.
        self._lock = threading.Lock()
        self._pools: dict[weakref.ref[Maintained], float] = {}  # Next pass; guarded by _lock
        self._thread: threading.Thread | None = None  # guarded by _lock
        self._bell = Bell()

    def watch(self, pool: Maintained) -> None:
        """Look after ``pool`` from now on, if it wants it. Idempotent."""
        if pool.reap_interval <= 0:
            return
        with self._lock:
            reference = weakref.ref(pool, lambda _: self.nudge())
            if reference in self._pools and self._thread is not None:
                return
            self._pools[reference] = time.monotonic() + pool.reap_interval
            if self._thread is None:
                self._thread = _start_thread(self._run)
        self._bell.ring()

    def hurry(self, pool: Maintained, seconds: float) -> None:
        """Maintain ``pool``, if it is watched, in so many seconds at the latest."""
        with self._lock:
            reference = weakref.ref(pool)
            if reference in self._pools:
                when = time.monotonic() + seconds
                self._pools[reference] = min(self._pools[reference], when)
        self._bell.ring()

    def unwatch(self, pool: Maintained) -> None:
        """Leave ``pool`` alone from now on."""
        with self._lock:
            self._pools.pop(weakref.ref(pool), None)
        self._bell.ring()

    def nudge(self) -> None:
        """Look for lost leases soon. Safe in finalisers: it only rings a bell."""
        self._bell.ring()

    def stop(self, timeout: float) -> None:
        """Forget every pool, and wait up to ``timeout`` seconds for the thread to end."""
        with self._lock:
            thread = self._thread
            self._pools.clear()
        self._bell.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def after_fork(self) -> None:
        """In the child: there is no thread here, and no pool has been used yet."""
        Reaper.__init__(self)

    def _run(self) -> None:
        while (pause := self._pass()) is not None:
            self._bell.wait(pause)

    def _pass(self) -> float | None:
        """Maintain what is due; returns seconds until the next time, ``None`` at the end."""
        now = time.monotonic()
        due: list[tuple[Maintained, Callable[[], None]]] = []
        with self._lock:
            for reference, when in list(self._pools.items()):
                pool = reference()
                if pool is None:
                    del self._pools[reference]
                elif when <= now:
                    self._pools[reference] = now + pool.reap_interval
                    due.append((pool, pool.maintain))
                elif pool.has_lost():
                    due.append((pool, pool.reap))
            if not self._pools:
                # Under the lock: the next call of ``watch()`` starts another thread.
                self._thread = None
                return None
            pause = min(self._pools.values()) - now
        for pool, upkeep in due:
            try:
                upkeep()
            except Exception:
                logger.exception("Upkeep of pool %r failed; the next pass tries again.", pool.name)
        return 0.0 if due else max(pause, 0.0)


def _start_thread(target: Any) -> threading.Thread | None:
    # An empty context, or the first request that uses a pool would lend its own for ever (3.14).
    keywords: dict[str, Any] = {"context": Context()} if sys.version_info >= (3, 14) else {}
    thread = threading.Thread(target=target, name="django-connmgr-reaper", daemon=True, **keywords)
    try:
        thread.start()
    except RuntimeError:
        # The interpreter is shutting down, or the machine is out of threads. The pool works on
        # without upkeep: checkouts still take slots back from dead owners.
        logger.warning("The upkeep thread could not be started.", exc_info=True)
        return None
    return thread


reaper = Reaper()
