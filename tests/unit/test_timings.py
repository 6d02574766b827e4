"""How long things take, where a pool measures it; and that others do not."""

from __future__ import annotations

import threading

import pytest

from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.timings import (
    BOUNDS,
    MOST_NOTES,
    MOST_UNITS,
    OTHERS,
    Histogram,
    Uses,
)
from django_connmgr.testing import FakeDriver, ManualClock

from .helpers import PATIENCE, Pool, Worker


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pool(clock: ManualClock) -> Pool:
    limits = Limits(max_size=1, reap_interval=0)
    return ConnectionPool("test", FakeDriver(), limits, clock=clock, is_observed=True)


def buckets(**counts: int) -> tuple[int, ...]:
    """By the upper bound of a bucket, without its dot; ``more`` is above them all."""
    names = [f"to_{bound:g}".replace(".", "_") for bound in BOUNDS]
    return tuple(counts.get(name, 0) for name in [*names, "more"])


def test_a_value_is_counted_in_its_bucket_with_its_sum() -> None:
    histogram = Histogram()
    histogram.add([0.5, 0.0, 0.02, 0.03, 11.0])
    frozen = histogram.freeze(at_once=2)
    assert frozen.counts == buckets(to_0_001=3, to_0_05=2, to_0_5=1, more=1)
    assert sum(frozen.sums) == pytest.approx(11.55)
    assert frozen.sums[3] == pytest.approx(0.05)


def test_a_pool_that_does_not_measure_has_no_timings() -> None:
    pool: Pool = ConnectionPool("test", FakeDriver(), Limits(reap_interval=0))
    assert pool.timings() is None


def test_uses_connects_and_waits_are_measured(pool: Pool, clock: ManualClock) -> None:
    pool.driver.on_connect = lambda: clock.advance(0.02)  # type: ignore[attr-defined]
    lease = pool.acquire(scope=Scope("GET /"))
    clock.advance(0.3)
    lease.release()
    pool.acquire().release()
    timings = pool.timings()
    assert timings is not None
    assert timings.connect.counts == buckets(to_0_05=1)
    assert timings.use.counts == buckets(to_0_5=1, to_0_001=1)
    assert timings.units["GET /"] == (1, pytest.approx(0.3))
    assert timings.units[""] == (1, 0.0)
    assert timings.wait.counts == buckets(to_0_001=2)


def test_a_wait_is_measured_until_the_waiter_is_served(pool: Pool, clock: ManualClock) -> None:
    lease = pool.acquire()
    waiter = threading.Thread(target=lambda: pool.acquire().release())
    waiter.start()
    clock.await_waiters()
    clock._now += 0.7
    lease.release()
    waiter.join(PATIENCE)
    timings = pool.timings()
    assert timings is not None
    assert timings.wait.counts == buckets(to_0_001=1, to_1=1)
    assert timings.use.counts == buckets(to_1=1, to_0_001=1)


def test_one_that_times_out_is_no_wait_that_ended(pool: Pool, clock: ManualClock) -> None:
    lease = pool.acquire()
    waiter = Worker(lambda: pool.acquire(1))
    clock.await_waiters()
    clock.advance(2)
    with pytest.raises(PoolTimeout):
        waiter.result()
    lease.release()
    timings = pool.timings()
    assert timings is not None
    assert timings.wait.counts == buckets(to_0_001=1)


def test_upkeep_is_no_use(pool: Pool) -> None:
    pool.acquire().release()
    pool.maintain()
    timings = pool.timings()
    assert timings is not None
    assert sum(timings.use.counts) == 1


def test_names_of_units_are_bounded() -> None:
    uses = Uses()
    for number in range(3 * MOST_UNITS):
        uses.notes.append((1.0, Scope(f"GET /{number}/")))
    uses.count()
    by_unit = uses.by_unit()
    assert len(by_unit) == MOST_UNITS + 1
    assert by_unit[OTHERS] == (2 * MOST_UNITS, 2.0 * MOST_UNITS)


def test_many_uses_are_counted_meanwhile(pool: Pool) -> None:
    for _ in range(2 * MOST_NOTES):
        pool.acquire().release()
    assert len(pool._state._uses.notes) < MOST_NOTES  # type: ignore[attr-defined]
    timings = pool.timings()
    assert timings is not None
    assert sum(timings.use.counts) == 2 * MOST_NOTES


def test_a_forked_child_has_measured_nothing(pool: Pool) -> None:
    pool.acquire().release()
    pool.after_fork()
    timings = pool.timings()
    assert timings is not None
    assert sum(timings.use.counts) == 0
