"""Whether acquire and release cost more in a large pool, in a long queue, or beside many pools.

The pool's own code alone, on a driver without a server. Each number is the cost at the large
size divided by the cost of the same at the small size. A thousand threads cost the operating
system more than two do, so where threads wait, that number is divided by the growth of what
the same threads cost that wait for nothing but a lock.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..gate import Gate
from ..load import THREAD_TIMEOUT, cheapest
from ..placement import Placement
from ..scenario import Metric, Outcome, Scenario, Stage, at_most

#: Small and large.
_SLOTS, _WAITERS, _ALIASES, _TIMEOUTS = (10, 1000), (1, 1000), (1, 100), (1250, 5000)
_STACK = 256 * 1024
#: Seconds in which one thread is started, and after which all that were started wait.
_START, _SETTLING = 0.0006, 0.5


def _run(stage: Stage) -> Outcome:
    threading.stack_size(_STACK)
    batches, turns = int(stage.scaled(100)), int(stage.scaled(40_000))
    slots = [_among_slots(count, batches) for count in _SLOTS]
    aliases = [_among_pools(count, batches) for count in _ALIASES]
    waiters = [_handed_over(_pool_of_one, count, turns) for count in _WAITERS]
    gate_waiters = [_handed_over(_gate_of_one, count, turns) for count in _WAITERS]
    timeouts = [_timed_out(_taken_pool, count) for count in _TIMEOUTS]
    lock_timeouts = [_timed_out(_taken_lock, count) for count in _TIMEOUTS]
    return Outcome(
        {
            "slots": _growth(slots),
            "waiters": _growth(waiters) / _growth(gate_waiters),
            "aliases": _growth(aliases),
            "timeouts": _growth(timeouts) / _growth(lock_timeouts),
        }
    )


def _growth(costs: list[float]) -> float:
    small, large = costs
    return large / small


#: Acquires, and returns what releases.
_Acquire = Callable[[], Callable[[], object]]


def _pool(size: int) -> Any:
    from django_connmgr._pool.limits import Limits
    from django_connmgr._pool.pool import ConnectionPool
    from django_connmgr.testing import FakeDriver

    limits = Limits(max_size=size, timeout=THREAD_TIMEOUT, reap_interval=0)
    return ConnectionPool("growth", FakeDriver(), limits)


def _pool_of_one() -> _Acquire:
    pool = _pool(1)
    return lambda: pool.acquire().release


def _gate_of_one() -> _Acquire:
    gate = Gate(1)

    def acquire() -> Callable[[], object]:
        gate.enter()
        return gate.leave

    return acquire


def _taken_pool() -> Callable[[float], object]:
    """A pool's ``acquire(timeout)`` while its only slot is leased."""
    pool = _pool(1)
    lease = pool.acquire()

    def wait(timeout: float) -> None:
        try:
            pool.acquire(timeout)
        except Exception as error:
            # The core's and Django's have different classes, and the same name.
            if type(error).__name__ != "PoolTimeout":
                raise
        else:
            raise RuntimeError(f"acquired what is leased: {lease}")

    return wait


def _taken_lock() -> Callable[[float], object]:
    """What a timeout takes at the least: a wait, and a lock that is taken before and after it."""
    shared = threading.Lock()

    def wait(timeout: float) -> None:
        bell = threading.Lock()
        bell.acquire()
        with shared:
            pass
        bell.acquire(timeout=timeout)
        with shared:
            pass

    return wait


def _among_slots(slots: int, batches: int) -> float:
    """Seconds of a pair, while one half of the slots is leased and the other is idle."""
    pool = _pool(slots)
    leases = [pool.acquire() for _ in range(slots)]
    for lease in leases[slots // 2 :]:
        lease.release()
    return cheapest(lambda: pool.acquire().release(), calls=500, batches=batches)


def _among_pools(count: int, batches: int) -> float:
    """Seconds of a pair, which goes to the next of so many pools each time."""
    pools = [_pool(1) for _ in range(count)]
    pairs = max(_ALIASES)

    def work() -> None:
        for _ in range(pairs // count):
            for pool in pools:
                pool.acquire().release()

    return cheapest(work, calls=5, batches=batches) / pairs


def _handed_over(make: Callable[[], _Acquire], waiters: int, turns: int) -> float:
    """Processor time of a pair, where each release hands the only slot to the first waiter."""
    acquire = make()
    turns_each = turns // (waiters + 1)

    def work() -> None:
        for _ in range(turns_each):
            acquire()()

    release = acquire()
    with _threads(waiters + 1, work) as times:
        time.sleep(_SETTLING)
        release()
    return sum(times) / (turns_each * (waiters + 1))


def _timed_out(make: Callable[[], Callable[[float], object]], waiters: int) -> float:
    """Processor time of a waiter that times out, where all of them do at the same moment."""
    wait = make()
    deadline = time.monotonic() + waiters * _START + _SETTLING
    with _threads(waiters, lambda: wait(deadline - time.monotonic())) as times:
        if time.monotonic() > deadline:
            raise RuntimeError("not every thread waited when the deadline came")
    return sum(times) / waiters


@contextlib.contextmanager
def _threads(count: int, work: Callable[[], object]) -> Iterator[list[float]]:
    """Threads that are started before the block and joined after it; their processor times."""
    times: list[float] = []

    def timed() -> None:
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)

    # The interpreter switches only where a thread waits. Otherwise every thread that waits for
    # the interpreter looks up each few milliseconds, which costs the square of the threads.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(THREAD_TIMEOUT)
    threads = [threading.Thread(target=timed, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield times
    for thread in threads:
        thread.join(THREAD_TIMEOUT)
    sys.setswitchinterval(interval)
    if len(times) < count:
        raise RuntimeError(f"{count - len(times)} of {count} threads failed")


SCENARIOS = (
    Scenario(
        name="growth-of-costs",
        does="Acquire and release in a pool of 1,000 slots, with 1,000 waiters, and in turn from "
        "100 pools, as a multiple of what they cost with 10, 1 and 1. The timeout of one of 5,000 "
        "waiters that time out at once, as a multiple of that of one of 1,250. No server.",
        contestants=("ours",),
        metrics=(
            Metric("slots", "times"),
            Metric("waiters", "times"),
            Metric("aliases", "times"),
            Metric("timeouts", "times"),
        ),
        targets=(
            at_most(1.5, "slots"),
            at_most(1.5, "waiters"),
            at_most(1.5, "aliases"),
            at_most(1.5, "timeouts"),
        ),
        run=_run,
        rounds=3,
        needs_server=False,
        placements=(Placement.PINNED,),
    ),
)
