"""A driver without a server, a clock that stands still, and pools that must end empty."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeDriver, ManualClock

from .helpers import Pool, picture

MakePool = Callable[..., Pool]


@pytest.fixture(scope="package", autouse=True)
def _small_heap() -> Iterator[None]:
    """Let collections skip what was there before the tests, so that they take no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_pool(driver: FakeDriver, clock: ManualClock) -> Iterator[MakePool]:
    """Pools without a background thread; at the end nothing may be leased or waiting."""
    pools: list[Pool] = []

    def make(**limits: Any) -> Pool:
        settings = {"reap_interval": 0.0, **limits}
        pool = ConnectionPool("test", driver, Limits(**settings), clock=clock)
        pools.append(pool)
        return pool

    yield make
    gc.collect()  # So that the finalisers of what is unreachable have run.
    for pool in pools:
        assert set(picture(pool)) <= {"idle", "warm"}
        pool.close()
        assert picture(pool) == {}
    assert driver.open() == []
