from __future__ import annotations

import threading

import pytest

from django_connmgr import _registry
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._registry import Registry
from django_connmgr.testing import FakeConnection, FakeDriver

from .helpers import PATIENCE, Pool, Worker, borrow, picture


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """One of the test's own, beside the background thread that all share."""
    monkeypatch.setattr(_registry.reaper, "stop", lambda timeout: None)
    return Registry()


def make() -> Pool:
    return ConnectionPool("test", FakeDriver(), Limits(reap_interval=0))


def status(pool: Pool) -> str:
    return pool.stats().status


def test_a_key_has_one_pool(registry: Registry) -> None:
    source = object()
    assert registry.get("key") is None
    pool = registry.get_or_make("key", "default", source, make)
    assert registry.get_or_make("key", "default", source, make) is pool
    assert registry.get("key") is pool
    assert registry.all() == [pool]


def test_threads_that_ask_at_once_get_the_same_pool(registry: Registry) -> None:
    source = object()
    barrier = threading.Barrier(20)

    def slow_make() -> Pool:
        barrier.wait(PATIENCE)
        return make()

    workers = [
        Worker(lambda: registry.get_or_make("key", "default", source, slow_make)) for _ in range(20)
    ]
    assert {worker.result() for worker in workers} == set(registry.all())
    assert len(registry.all()) == 1


def test_settings_that_were_changed_in_place_have_a_new_pool_and_the_old_one_is_closed(
    registry: Registry,
) -> None:
    """As the test runner does when it swaps the names of databases."""
    settings, others = object(), object()
    old = registry.get_or_make("name", "default", settings, make)
    other = registry.get_or_make("other", "default", others, make)
    new = registry.get_or_make("test_name", "default", settings, make)
    assert registry.all() == [other, new]
    assert [status(pool) for pool in (old, other, new)] == ["closed", "open", "open"]


def test_close_closes_every_pool_of_an_alias_and_no_other(registry: Registry) -> None:
    first = registry.get_or_make("a", "default", object(), make)
    second = registry.get_or_make("b", "default", object(), make)
    other = registry.get_or_make("c", "other", object(), make)
    registry.close("default")
    assert registry.all() == [other]
    assert [status(pool) for pool in (first, second, other)] == ["closed", "closed", "open"]


def test_at_exit_idle_connections_are_closed_and_nobody_is_waited_for(registry: Registry) -> None:
    pool = registry.get_or_make("a", "default", object(), make)
    lingers: list[bool] = []

    def close(connections: list[FakeConnection], *, linger: bool) -> None:
        lingers.append(linger)

    borrow(pool)
    pool.driver.close = close  # type: ignore[method-assign,assignment]
    registry.shut_down()
    assert (lingers, status(pool), picture(pool)) == ([False], "closed", {})


def test_pools_are_made_without_the_lock(registry: Registry) -> None:
    """Whoever makes one may ask for another."""

    def make_two() -> Pool:
        registry.get_or_make("b", "b", object(), make)
        return make()

    registry.get_or_make("a", "a", object(), make_two)
    assert len(registry.all()) == 2
