"""A thousand threads on a pool of ten, no server."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable

from ..barepools import BarePool
from ..load import THREAD_TIMEOUT, all_at_once, distribution
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least, at_most

_THREADS, _SIZE, _HOLD = 1000, 10, 0.01
_FAIR_SHARE = _HOLD * _THREADS / _SIZE


def _run(stage: Stage) -> Outcome:
    make = stage.contestant.bare_pool
    if make is None:
        raise ValueError(f"{stage.contestant.name} has no pool without Django")
    threading.stack_size(256 * 1024)
    pool = make(_SIZE)
    memory = _memory_per_waiter(pool)

    def turn() -> float:
        asked = time.perf_counter()
        item = pool.acquire()
        waited = time.perf_counter() - asked
        time.sleep(_HOLD)
        pool.release(item)
        return waited

    waits = all_at_once(_THREADS, turn)
    return Outcome(
        {"worst wait": max(waits) / _FAIR_SHARE, "served": float(len(waits)), "memory": memory},
        distribution(waits),
    )


def _memory_per_waiter(pool: BarePool) -> float:
    """Bytes that Python allocates for a waiter, beyond those of a thread that waits for a lock."""
    taken = [pool.acquire() for _ in range(_SIZE)]
    gate = threading.Lock()
    gate.acquire()

    def wait_for_gate() -> None:
        with gate:
            pass

    def wait_for_pool() -> None:
        pool.release(pool.acquire())

    for_gate = _memory_of_threads(wait_for_gate, gate.release)
    for_pool = _memory_of_threads(wait_for_pool, lambda: [pool.release(item) for item in taken])
    return (for_pool - for_gate) / _THREADS


def _memory_of_threads(work: Callable[[], object], end_wait: Callable[[], object]) -> float:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(_THREADS)]
    tracemalloc.start()
    try:
        for thread in threads:
            thread.start()
        # Once nothing more is allocated, all threads wait.
        before, now = -1, tracemalloc.get_traced_memory()[0]
        while before != now:
            time.sleep(0.2)
            before, now = now, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    end_wait()
    for thread in threads:
        thread.join(THREAD_TIMEOUT)
    return now


SCENARIOS = (
    Scenario(
        name="many-threads",
        does="1,000 threads, all at once, on 10 connections that are each held for 10 ms, no "
        "server. The worst wait, as a multiple of the 1 s that it takes to serve them all; the "
        "memory of a waiter beyond that of a thread that waits for a lock.",
        contestants=("ours", "psycopg_pool", "queuepool"),
        metrics=(
            Metric("worst wait", "fair shares"),
            Metric("served", "threads", Better.MORE),
            Metric("memory", "bytes"),
        ),
        targets=(
            at_most(1.5, "worst wait"),
            at_least(_THREADS, "served"),
            at_most(2048, "memory"),
        ),
        run=_run,
        needs_server=False,
        rounds=3,
        time_limit=120.0,
    ),
)
