from __future__ import annotations

import threading

import pytest

from django_connmgr import registry as registry_module
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.registry import Address, Registry
from django_connmgr.testing import FakeConnection, FakeDriver

from .helpers import PATIENCE, Pool, Worker, borrow, picture

DEFAULT = Address("default", "here", "session")
RENAMED = Address("default", "test_here", "session")
MIRROR = Address("mirror", "here", "session")
OTHER = Address("other", "there", "session")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """One of the test's own, beside the background thread that all share."""
    monkeypatch.setattr(registry_module.reaper, "stop", lambda timeout: None)
    monkeypatch.setattr(registry_module.reaper, "after_fork", lambda: None)
    return Registry()


def make() -> Pool:
    return ConnectionPool("test", FakeDriver(), Limits(reap_interval=0))


def status(pool: Pool) -> str:
    return pool.stats().status


def test_an_address_has_one_pool(registry: Registry) -> None:
    assert registry.all() == []
    pool = registry.get_or_make(DEFAULT, make)
    assert registry.get_or_make(DEFAULT, make) is pool
    assert registry.all() == [pool]


def test_threads_that_ask_at_once_get_the_same_pool(registry: Registry) -> None:
    barrier = threading.Barrier(20)

    def slow_make() -> Pool:
        barrier.wait(PATIENCE)
        return make()

    workers = [Worker(lambda: registry.get_or_make(DEFAULT, slow_make)) for _ in range(20)]
    assert {worker.result() for worker in workers} == set(registry.all())
    assert len(registry.all()) == 1


def test_settings_that_were_changed_in_place_have_a_pool_of_their_own(registry: Registry) -> None:
    """As the test runner does when it swaps the names of databases, and back."""
    old = registry.get_or_make(DEFAULT, make)
    new = registry.get_or_make(RENAMED, make)
    assert registry.all() == [old, new]
    assert registry.get_or_make(DEFAULT, make) is old


def test_close_closes_every_pool_of_an_alias_and_no_other(registry: Registry) -> None:
    first, second, other = (
        registry.get_or_make(address, make) for address in (DEFAULT, RENAMED, OTHER)
    )
    registry.close("default")
    assert registry.all() == [other]
    assert [status(pool) for pool in (first, second, other)] == ["closed", "closed", "open"]
    assert registry.get_or_make(DEFAULT, make) is not first


def test_close_closes_those_of_other_aliases_to_the_same_database(registry: Registry) -> None:
    """Mirrors, before their test database is dropped."""
    first, mirror, other = (
        registry.get_or_make(address, make) for address in (DEFAULT, MIRROR, OTHER)
    )
    registry.close("default", "here")
    assert [status(pool) for pool in (first, mirror, other)] == ["closed", "closed", "open"]


def test_at_exit_idle_connections_are_closed_and_nothing_is_waited_for(registry: Registry) -> None:
    pool = registry.get_or_make(DEFAULT, make)
    lingers: list[bool] = []

    def close(connections: list[FakeConnection], *, linger: bool) -> None:
        lingers.append(linger)

    borrow(pool)
    pool.driver.close = close  # type: ignore[method-assign,assignment]
    registry.shut_down()
    assert (lingers, status(pool), picture(pool)) == ([False], "closed", {})


def test_after_a_fork_the_pools_stay_and_are_empty(registry: Registry) -> None:
    pool = registry.get_or_make(DEFAULT, make)
    borrow(pool)
    with registry._lock:
        inherited = registry._lock
        registry.after_fork()
    assert registry._lock is not inherited
    assert (registry.all(), picture(pool), status(pool)) == ([pool], {}, "open")


def test_pools_are_made_without_the_lock(registry: Registry) -> None:
    """What makes one may ask for another."""

    def make_two() -> Pool:
        registry.get_or_make(OTHER, make)
        return make()

    registry.get_or_make(DEFAULT, make_two)
    assert len(registry.all()) == 2
