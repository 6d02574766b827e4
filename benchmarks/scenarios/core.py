"""The pool by itself: no Django, no server."""

from __future__ import annotations

import time

from ..barepools import BarePool
from ..load import cheapest, distribution, keep_busy
from ..placement import Placement
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least, at_most

_THREADS, _SIZE, _HOLD = 16, 4, 0.001


def _pool(stage: Stage, size: int) -> BarePool:
    make = stage.contestant.bare_pool
    if make is None:
        raise ValueError(f"{stage.contestant.name} has no pool without Django")
    return make(size)


def _alone(stage: Stage) -> Outcome:
    pool = _pool(stage, 1)
    acquire, release = pool.acquire, pool.release

    def pair() -> None:
        release(acquire())

    seconds = cheapest(pair, calls=1000, batches=int(stage.scaled(200)))
    return Outcome({"time": seconds * 1e6})


def _contended(stage: Stage, hold: float) -> Outcome:
    pool = _pool(stage, _SIZE)
    acquire, release = pool.acquire, pool.release

    def turn() -> float:
        asked = time.perf_counter()
        item = acquire()
        waited = time.perf_counter() - asked
        if hold:
            time.sleep(hold)
        release(item)
        return waited

    load = keep_busy(_THREADS, stage.scaled(2.0), turn)
    return Outcome(
        {
            "acquires": load.per_second,
            "fewest to most": load.fewest_to_most,
            "fewest to fair": load.fewest_to_fair,
            "worst wait": 1000 * max(load.waits),
        },
        distribution(load.waits),
    )


_CONTESTANTS = ("ours", "psycopg_pool", "queuepool")
_ACQUIRES = Metric("acquires", "per second", Better.MORE)
_FEWEST_TO_MOST = Metric("fewest to most", "", Better.MORE)
_FEWEST_TO_FAIR = Metric("fewest to fair", "", Better.MORE)
_WORST_WAIT = Metric("worst wait", "ms")

SCENARIOS = (
    Scenario(
        name="core",
        does="Acquire and release on one thread, no server: the time of a pair.",
        contestants=(*_CONTESTANTS, "lock+deque"),
        metrics=(Metric("time", "µs"),),
        targets=(
            at_most(0.5, "time", of="psycopg_pool"),
            at_most(3.0, "time", of="lock+deque"),
        ),
        run=_alone,
        placements=(Placement.PINNED,),
        needs_server=False,
    ),
    Scenario(
        name="core-hold",
        does="16 threads on 4 connections, each held for 1 ms, no server. The turns of the "
        "thread with the fewest, divided by those of the thread with the most.",
        contestants=_CONTESTANTS,
        metrics=(_ACQUIRES, _FEWEST_TO_MOST, _WORST_WAIT),
        targets=(
            at_least(1.0, "acquires", of="psycopg_pool"),
            at_least(0.95, "fewest to most"),
            at_most(1.0, "worst wait", of="psycopg_pool"),
        ),
        run=lambda stage: _contended(stage, _HOLD),
        needs_server=False,
    ),
    Scenario(
        name="core-no-hold",
        does="As `core-hold`, but released at once. The turns of the thread with the fewest, "
        "divided by an equal share of all turns.",
        contestants=_CONTESTANTS,
        metrics=(_ACQUIRES, _FEWEST_TO_FAIR, _WORST_WAIT),
        targets=(
            at_least(1.2, "acquires", of="psycopg_pool"),
            at_least(1.0, "fewest to fair", of="psycopg_pool"),
            at_most(1.0, "worst wait", of="psycopg_pool"),
        ),
        run=lambda stage: _contended(stage, 0.0),
        needs_server=False,
    ),
)
