"""Threads that all begin at once and work until time is up; and the time of a single call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .scenario import Series

#: Seconds that a thread may take to come to the start or the end.
THREAD_TIMEOUT = 60.0


@dataclass
class Load:
    """What some threads did in the same time."""

    seconds: float
    #: By thread.
    turns: list[int]
    #: Seconds that each turn had to wait for what it needed, in no order.
    waits: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return sum(self.turns) / self.seconds

    @property
    def fewest_to_most(self) -> float:
        """1 where every thread had as many turns as any other."""
        return min(self.turns) / max(*self.turns, 1)

    @property
    def fewest_to_fair(self) -> float:
        """The turns of the thread with the fewest, next to an equal share of all turns."""
        return min(self.turns) * len(self.turns) / max(sum(self.turns), 1)


def keep_busy(threads: int, seconds: float, turn: Callable[[], float]) -> Load:
    """``turn()`` on each thread again and again; it returns the seconds that it waited.

    Each thread has had one turn before time begins, so that what is opened only once is
    open. An exception on any thread is raised here once all have ended.
    """
    start = threading.Barrier(threads + 1)
    is_over = threading.Event()
    counts = [0] * threads
    waits: list[list[float]] = [[] for _ in range(threads)]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        my_waits = waits[number]
        try:
            try:
                turn()
            finally:
                start.wait(THREAD_TIMEOUT)
            while not is_over.is_set():
                my_waits.append(turn())
                counts[number] += 1
        except BaseException as error:
            errors.append(error)
            is_over.set()

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    start.wait(THREAD_TIMEOUT)
    began = time.monotonic()
    is_over.wait(seconds)
    taken = time.monotonic() - began
    is_over.set()
    done = list(counts)
    for worker in workers:
        worker.join(THREAD_TIMEOUT)
    if errors:
        raise errors[0]
    return Load(taken, done, [wait for mine in waits for wait in mine])


def all_at_once(threads: int, turn: Callable[[], float]) -> list[float]:
    """``turn()`` once on each thread, all at the same moment; what they returned."""
    start = threading.Barrier(threads)
    returned: list[float] = []
    errors: list[BaseException] = []

    def work() -> None:
        start.wait(THREAD_TIMEOUT)
        try:
            returned.append(turn())
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(THREAD_TIMEOUT)
    if errors:
        raise errors[0]
    return returned


def cheapest(
    work: Callable[[], object],
    *,
    calls: int,
    batches: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that one call takes: the least of many batches, as more is other processes' work."""
    least = float("inf")
    for _ in range(batches):
        began = clock()
        for _ in range(calls):
            work()
        least = min(least, clock() - began)
    return least / calls


def distribution(waits: list[float]) -> Series:
    """Which share of the waits was shorter than so many milliseconds, as a curve to draw."""
    ordered = sorted(waits)
    last = len(ordered) - 1
    if last < 0:
        return {}
    shares = [n / 20 for n in range(20)] + [0.98, 0.99, 0.995, 0.999, 1.0]
    return {"waits": [(share, 1000 * ordered[round(share * last)]) for share in shares]}
