"""A thousand threads on a pool of ten, no server."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable

from ..barepools import BarePool
from ..load import PATIENCE, all_at_once, distribution
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
        item = pool.take()
        waited = time.perf_counter() - asked
        time.sleep(_HOLD)
        pool.give(item)
        return waited

    waits = all_at_once(_THREADS, turn)
    return Outcome(
        {"worst wait": max(waits) / _FAIR_SHARE, "served": float(len(waits)), "memory": memory},
        distribution(waits),
    )


def _memory_per_waiter(pool: BarePool) -> float:
    """Bytes that Python allocates for a thread in line, beyond one that waits for a lock."""
    taken = [pool.take() for _ in range(_SIZE)]
    gate = threading.Lock()
    gate.acquire()

    def wait_for_gate() -> None:
        with gate:
            pass

    def wait_in_line() -> None:
        pool.give(pool.take())

    for_gate = _memory_of_threads(wait_for_gate, gate.release)
    in_line = _memory_of_threads(wait_in_line, lambda: [pool.give(item) for item in taken])
    return (in_line - for_gate) / _THREADS


def _memory_of_threads(work: Callable[[], object], let_go: Callable[[], object]) -> float:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(_THREADS)]
    tracemalloc.start()
    try:
        for thread in threads:
            thread.start()
        # All of them wait when nothing is allocated any more.
        before, now = -1, tracemalloc.get_traced_memory()[0]
        while before != now:
            time.sleep(0.2)
            before, now = now, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    let_go()
    for thread in threads:
        thread.join(PATIENCE)
    return now


SCENARIOS = (
    Scenario(
        name="crowd",
        does="1,000 threads, all at once, on 10 connections that are each held for 10 ms, no "
        "server. The worst wait as a multiple of the fair share, 1 s; the memory of a thread in "
        "line beyond one that waits for a lock.",
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
