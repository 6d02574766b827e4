"""Signals that raise at random moments, for a second. Run by ``test_interruptions.py``."""

from __future__ import annotations

import gc
import logging
import random
import signal
import sys
import time
from types import FrameType
from typing import Any

from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeConnection, FakeDriver

#: How many more times the handler raises.
raises_left = 0


class Fault(BaseException):
    """What no code expects."""


def strike(signum: int, frame: FrameType | None) -> None:
    global raises_left  # noqa: PLW0603 - signal handlers have no better place
    # Nothing swallows what strikes the hook below.
    if raises_left and (frame is None or frame.f_code is not let_faults_pass.__code__):
        raises_left -= 1
        raise Fault


def arm(times: int) -> None:
    global raises_left  # noqa: PLW0603
    raises_left = times


def let_faults_pass(unraisable: Any) -> None:
    """Python swallows what strikes a finaliser, and says so."""
    if not isinstance(unraisable.exc_value, Fault):
        sys.__unraisablehook__(unraisable)


def borrow_until_struck(pool: ConnectionPool[FakeConnection], end: float) -> None:
    while time.monotonic() < end:
        arm(random.randint(1, 2))
        lease = pool.acquire()
        slot = lease.slot
        if random.random() < 0.1:
            lease.discard()
            continue
        lease.release(is_warm=random.random() < 0.5)
        retaken = pool.retake(slot)
        if retaken is not None:
            pool.keep(retaken, None)
            pool.use(retaken)
            pool.rest(retaken, retaken.slot)
            if random.random() < 0.5:
                pool.cool(slot)


def main() -> None:
    logging.getLogger("django_connmgr.pool").disabled = True  # Its locks are not ours to test.
    sys.unraisablehook = let_faults_pass
    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
    # No background thread: ``Thread.start()`` is the standard library's to get right.
    pool = ConnectionPool("storm", FakeDriver(), Limits(max_size=1, reap_interval=0))
    strikes = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            try:
                borrow_until_struck(pool, end)
            except Fault:
                strikes += 1
            arm(0)
        except Fault:
            strikes += 1
    arm(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    pool.acquire().release()
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.waiting) == (1, 1, 0), stats
    assert strikes > 10, strikes
    pool.close()


if __name__ == "__main__":
    main()
