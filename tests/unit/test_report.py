from __future__ import annotations

import dataclasses

import pytest

from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.report import describe_exhaustion
from django_connmgr._pool.scope import Scope
from django_connmgr.testing import FakeDriver, ManualClock

from .conftest import MakePool
from .helpers import Borrower, Pool, Worker, keep


def timeout_message(pool: Pool) -> str:
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(timeout=0)
    return str(caught.value)


class Holder:
    """Of a lease, as the wrappers of Django's connections are."""

    def __init__(self, *holds: str) -> None:
        self._holds = holds

    def describe_holds(self) -> tuple[str, ...]:
        return self._holds


def test_a_timeout_names_the_pool_its_numbers_and_who_has_its_connections(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool, scope = make_pool(max_size=2), Scope("GET /orders/")
    kept = pool.acquire(scope=scope, holder=Holder("session state"))
    clock.advance(2.5)
    used = pool.acquire(holder=Holder("cursor", "transaction"))
    keep(pool, kept)
    clock.advance(1)
    assert timeout_message(pool).splitlines() == [
        (
            "No connection from pool 'test' within 0.0 s: size=2 of max_size=2 "
            "(0 connecting, 0 idle, 2 leased, 0 in maintenance), 0 others waiting, pool open."
        ),
        "Oldest holders:",
        (
            "  thread 'MainThread' (alive), held for 3.5 s, idle for 1.0 s, by session state, "
            "in GET /orders/"
        ),
        "  thread 'MainThread' (alive), held for 1.0 s, by cursor, transaction",
        (
            "Hold connections for less time (with_connection(), release_connection()), "
            "or raise max_size."
        ),
    ]
    kept.release()
    used.release()


def test_the_five_oldest_holders_are_named_and_the_others_counted(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=7, max_connecting=7)
    leases = []
    for _ in range(7):
        leases.append(pool.acquire())
        clock.advance(1)
    lines = timeout_message(pool).splitlines()
    assert [line.split(", ")[1] for line in lines[2:7]] == [
        f"held for {seconds}.0 s" for seconds in (7, 6, 5, 4, 3)
    ]
    assert lines[7] == "  and 2 more"
    for lease in leases:
        lease.release()


def test_a_timeout_says_how_long_it_waited_and_how_many_others_wait(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, timeout=100)
    lease = pool.acquire()
    impatient = Worker(lambda: pool.acquire(timeout=5))
    clock.await_waiters()
    other = Borrower(pool)
    clock.await_waiters()
    clock.advance(5)
    with pytest.raises(PoolTimeout, match=r"within 5\.0 s.* 1 others waiting"):
        impatient.result()
    lease.release()
    other.give_back()


def test_a_shared_lease_is_held_by_several(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    lease = pool.acquire()
    pool.share(lease)
    assert timeout_message(pool).splitlines()[1:3] == [
        "Oldest holders:",
        "  thread 'shared by several' (alive), held for 0.0 s",
    ]
    lease.release()


def test_a_holder_that_is_dead_is_said_to_be(make_pool: MakePool) -> None:
    """It should never be seen; if it is, the message says what to look for."""
    pool = make_pool()
    lease = pool.acquire()
    (record,) = pool.leases()
    record = dataclasses.replace(record, owner="worker", is_alive=False, held_for=1.0)
    message = describe_exhaustion(pool.stats(), [record], 1.0)
    assert "  thread 'worker' (dead), held for 1.0 s\n" in message
    lease.release()


def test_where_everybody_connects_the_advice_is_to_look_at_the_server(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    messages: list[str] = []
    driver.on_connect = lambda: messages.append(timeout_message(pool))
    pool.acquire().release()
    assert messages[0].splitlines()[-1] == (
        "Connecting to the server takes too long; see whether it can be reached."
    )


def test_the_last_connect_that_failed_is_the_cause_of_a_timeout(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=2)
    lease = pool.acquire()

    def refuse() -> None:
        raise OSError("no route")

    driver.on_connect = refuse
    with pytest.raises(OSError):
        pool.acquire()
    pool.resize(1)
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(timeout=0)
    assert repr(caught.value.__cause__) == "OSError('no route')"
    lease.release()


def test_a_connect_that_succeeds_ends_the_story(make_pool: MakePool, driver: FakeDriver) -> None:
    pool = make_pool(max_size=1)

    def refuse() -> None:
        raise OSError("no route")

    driver.on_connect = refuse
    with pytest.raises(OSError):
        pool.acquire()
    driver.on_connect = lambda: None
    lease = pool.acquire()
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire(timeout=0)
    assert caught.value.__cause__ is None
    lease.release()


def test_a_cause_keeps_nothing_alive(make_pool: MakePool, driver: FakeDriver) -> None:
    """It has no traceback, whose frames would hold their callers' variables."""
    pool = make_pool()

    def refuse() -> None:
        raise OSError("no route")

    driver.on_connect = refuse
    with pytest.raises(OSError):
        pool.acquire()
    kept = pool._core.connector.error
    assert kept is not None
    assert (kept.__traceback__, kept.__context__) == (None, None)


def test_an_error_that_cannot_be_made_again_is_told_in_words(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    class DifficultError(Exception):
        def __init__(self, code: int, *, server: str) -> None:
            super().__init__(f"{server} says {code}")

    def refuse() -> None:
        raise DifficultError(7, server="db")

    pool = make_pool()
    driver.on_connect = refuse
    with pytest.raises(DifficultError):
        pool.acquire()
    assert repr(pool._core.connector.error) == "RuntimeError('db says 7')"
