"""Background threads: one of a process, for all its pools."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from .background import start_thread
from .clock import Bell

logger = logging.getLogger("django_connmgr.reaper")

#: Seconds until the next pass of what does not tell its interval.
UNKNOWN_INTERVAL = 1.0


class Maintained(Protocol):
    """What a reaper looks after: a pool."""

    name: str

    @property
    def reap_interval(self) -> float: ...

    def maintain(self) -> None: ...
    def reap(self) -> None: ...
    def has_lost(self) -> bool: ...


class Door(Protocol):
    """A bell whose waiting thread serves clients meanwhile."""

    def ring(self) -> None:
        """As ``Bell.ring()``."""

    def wait(self, timeout: float) -> object:
        """As ``Bell.wait()``."""

    def close(self) -> None:
        """On the thread that waited: let go of everything."""

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's, which notices nothing."""


class Reaper:
    """Runs ``maintain()`` of every watched pool each ``reap_interval`` seconds of it.

    The thread starts with the first pool and ends with the last. It holds pools weakly: a pool
    that is not used any more does not live on because it is looked after.

    With a door, it is the door's thread. What pools need may wait for a server, so each pass is
    made on a thread of its own then, which ends with the pass: one at a time.
    """

    def __init__(self, name: str = "django-connmgr-reaper") -> None:
        self._name = name
        # Held while the next fields are read and changed: no pool is asked for anything under it,
        # and it is not taken under a pool's lock. A finaliser that watches a pool may come back.
        self._lock = threading.RLock()
        self._pools: dict[weakref.ref[Maintained], float] = {}  # Next pass; guarded by _lock
        self._thread: threading.Thread | None = None  # guarded by _lock
        self._is_ending = False  # The thread makes no pass any more; guarded by _lock.
        # The next two are changed under _lock, by the background thread, before a pass: what was
        # reported by a ring of the one before is seen in that pass.
        self._bell: Bell | Door = Bell()
        self._door: Door | None = None
        #: Makes the door, on the background thread; ``None``, or what returns it: there is none.
        self.make_door: Callable[[], Door | None] | None = None
        self._is_busy = False  # A pass is being made on a thread of its own.

    def watch(self, pool: Maintained) -> None:
        """Look after ``pool`` from now on, if it wants it. Idempotent."""
        interval = pool.reap_interval
        if interval <= 0:
            return
        reference = weakref.ref(pool, lambda _: self.nudge())
        with self._lock:
            thread = None if self._is_ending else self._thread
            has_thread = thread is not None and thread.is_alive()
            if reference in self._pools and has_thread:
                return
            self._pools.setdefault(reference, time.monotonic() + interval)
            if not has_thread:
                self._is_ending = False
                self._thread = start_thread(self._run, self._name)
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
        door, make_door = self._door, self.make_door
        Reaper.__init__(self, self._name)
        self.make_door = make_door
        if door is not None:
            door.abandon()

    def _run(self) -> None:
        door = self._open_door()
        try:
            while (pause := self._pass()) is not None:
                try:
                    (door or self._bell).wait(pause)
                except Exception:
                    # A program that becomes a daemon may close every descriptor, for example.
                    logger.exception("The background thread answers no clients any more.")
                    self._close_door(door)
                    door = None
        finally:
            self._close_door(door)

    def _open_door(self) -> Door | None:
        try:
            door = None if self.make_door is None else self.make_door()
        except Exception:
            logger.exception("The background thread cannot answer clients.")
            return None
        if door is not None:
            with self._lock:
                self._door = self._bell = door
        return door

    def _close_door(self, door: Door | None) -> None:
        if door is None:
            return
        with self._lock:
            if self._door is door:  # Or else the next thread has opened its own.
                self._door, self._bell = None, Bell()
        door.close()

    def _pass(self) -> float | None:
        """Maintain what is due; returns seconds until the next time, ``None`` at the end."""
        with self._lock:
            for reference in [one for one in self._pools if one() is None]:
                del self._pools[reference]
            if not self._pools:
                # Under the lock: the next call of ``watch()`` starts another thread. This one
                # has yet to close its door, which ``stop()`` waits for.
                self._is_ending = True
                return None
            watched = list(self._pools)
        if self._is_busy:
            return UNKNOWN_INTERVAL  # That pass rings at its end.
        now = time.monotonic()
        pools = {reference: pool for reference in watched if (pool := reference()) is not None}
        answers = {reference: _ask(pool) for reference, pool in pools.items()}
        due: list[tuple[Maintained, Callable[[], None]]] = []
        with self._lock:
            for reference, (interval, has_lost) in answers.items():
                when = self._pools.get(reference)
                if when is None:
                    continue  # It is not to be looked after any more.
                if when <= now:
                    self._pools[reference] = now + interval
                    due.append((pools[reference], pools[reference].maintain))
                elif has_lost:
                    due.append((pools[reference], pools[reference].reap))
            pause = min(self._pools.values(), default=now) - now
        if not due:
            return max(pause, 0.0)
        self._is_busy = True
        if self._door is None or not start_thread(partial(self._work, due), self._name):
            self._work(due)
            return 0.0
        return UNKNOWN_INTERVAL

    def _work(self, due: list[tuple[Maintained, Callable[[], None]]]) -> None:
        for pool, upkeep in due:
            try:
                upkeep()
            except Exception:
                logger.exception("Upkeep of pool %r failed; the next pass tries again.", pool.name)
        self._is_busy = False
        self._bell.ring()


def _ask(pool: Maintained) -> tuple[float, bool]:
    """How long until its pass after the next, and whether it has lost leases."""
    try:
        return pool.reap_interval, pool.has_lost()
    except Exception:
        logger.exception("Pool %r does not tell what it needs.", pool.name)
        return UNKNOWN_INTERVAL, False


reaper = Reaper()
