"""Warm, ready, drain; and what a probe is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from django.test import RequestFactory

from django_connmgr import api, pools
from django_connmgr._pool.errors import PoolClosed
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr.health import Condition, check_pools
from django_connmgr.health_view import ready
from django_connmgr.registry import Address, registry
from django_connmgr.testing import FakeDriver

from .helpers import Pool, Worker, borrow


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def pool(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    limits = Limits(max_size=3, min_size=2, reap_interval=0)
    made: Pool = ConnectionPool("a", driver, limits)
    monkeypatch.setattr(registry, "_pools", {Address("a", None, None): made})
    monkeypatch.setattr(api.Pools, "__iter__", lambda _: iter(["a"]))
    monkeypatch.setattr(api.Pools, "__getitem__", lambda _, alias: made)
    yield made
    made.close()


def condition() -> Condition:
    (health,) = check_pools()
    return health.condition


def test_warming_opens_the_least_connections_and_leaves_them_cold(pool: Pool) -> None:
    assert condition() is Condition.COLD
    assert pools.warm() == {"a": 2}
    stats = pool.stats()
    assert (stats.idle, stats.warm, stats.leased, stats.checkouts) == (2, 0, 0, 0)
    assert condition() is Condition.WARM
    assert pools.warm() == {"a": 2}


def test_one_that_cannot_be_warmed_is_logged_and_told(
    pool: Pool, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        if len(driver.connections) == 1:
            raise OSError("no route")

    driver.on_connect = refuse
    assert pools.warm() == {"a": 1}
    assert caplog.messages == ["Pool 'a' could not be warmed: no route"]
    (health,) = check_pools()
    assert health.condition is Condition.DOWN
    assert health.text == "The last attempt to connect failed: OSError."
    driver.on_connect = lambda: None
    pools.warm()
    assert condition() is Condition.WARM


def test_warming_is_bounded_in_time(pool: Pool, driver: FakeDriver) -> None:
    may_go_on = threading.Event()
    driver.on_connect = lambda: may_go_on.wait(30) and None
    assert pools.warm(0.05) == {"a": 1}  # It is being opened.
    may_go_on.set()
    for thread in threading.enumerate():
        if thread.name == "django-connmgr-warm":
            thread.join(30)


def test_exhausted_is_told_from_warm(pool: Pool) -> None:
    leases = [pool.acquire() for _ in range(3)]
    assert condition() is Condition.WARM
    waiter = Worker(lambda: pool.acquire().release())
    while not pool.stats().waiting:
        pass
    assert condition() is Condition.EXHAUSTED
    for lease in leases:
        lease.release()
    waiter.result()
    assert condition() is Condition.WARM


def test_one_that_is_suspended_is_out(pool: Pool) -> None:
    pool.suspend()
    assert condition() is Condition.OUT
    pool.resume()


def test_the_view_is_for_load_balancers(pool: Pool) -> None:
    request = RequestFactory().get("/ready/")
    cold = ready(request)
    assert (cold.status_code, json.loads(cold.content)["a"]["condition"]) == (503, "cold")
    pools.warm()
    assert ready(request).status_code == 200
    assert pool.stats().checkouts == 0
    assert ready(RequestFactory().post("/ready/")).status_code == 405


def test_what_is_in_flight_ends_and_nothing_new_is_opened(pool: Pool, driver: FakeDriver) -> None:
    scope = Scope("GET /")
    lease = pool.acquire(scope=scope)
    slot = lease.held_slot()
    drained = Worker(lambda: pools.drain(30))
    while pool.stats().max_size != 1:
        pass
    lease.release(is_warm=True)  # Its next query finds it again.
    again = pool.retake(slot)
    assert again is not None
    assert len(driver.open()) == 1
    again.release(is_warm=True)
    scope.end()
    assert drained.result() is True
    assert driver.open() == []
    with pytest.raises(PoolClosed):
        pool.acquire()


def test_what_is_out_after_the_time_is_closed_when_it_comes_back(
    pool: Pool, driver: FakeDriver
) -> None:
    lease = pool.acquire()
    assert pools.drain(0.0) is False
    assert len(driver.open()) == 1
    lease.release()
    assert driver.open() == []


def test_pools_that_rest_are_closed_at_once(pool: Pool, driver: FakeDriver) -> None:
    borrow(pool)
    assert pools.drain(0.0) is True
    assert driver.open() == []
