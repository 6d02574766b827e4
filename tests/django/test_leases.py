"""``pool.leases()``: who has what, and where."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from django_connmgr import lease_connection, unit_of_work, with_connection
from django_connmgr._pool.stats import LeaseRecord

from .conftest import Pool, PoolOf
from .threads import ask


def seen(pool: Pool) -> list[tuple[object, ...]]:
    return [
        (lease.owner, lease.is_alive, lease.state, lease.unit, lease.holds)
        for lease in pool.leases()
    ]


def open_cursor() -> AbstractContextManager[Any]:
    return connection.cursor()


@contextmanager
def leased_by_hand() -> Iterator[None]:
    lease_connection()
    yield


@contextmanager
def session_state() -> Iterator[None]:
    ask("SELECT set_config('my.own', 'x', false)")
    yield


#: What holds, the state that the lease is in, and the word for it.
HOLDS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "cursor": (open_cursor, "leased"),
    "transaction": (transaction.atomic, "leased"),
    "block": (with_connection, "leased"),
    "lease_connection()": (leased_by_hand, "kept"),
    "session state": (session_state, "kept"),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_it_names_the_owner_the_unit_and_what_holds(pool: Pool, hold: str) -> None:
    holding, state = HOLDS[hold]
    with unit_of_work("nightly"), holding():
        assert seen(pool) == [("MainThread", True, state, "nightly", (hold,))]
    assert pool.leases() == []


def test_it_names_the_backend_and_the_longest_held_comes_first(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=3)
    may_end = threading.Event()
    pids: list[int] = []
    threads = []

    def work(has_leased: threading.Event) -> None:
        with with_connection():
            pids.append(ask())
            has_leased.set()
            assert may_end.wait(30)

    try:
        for name in ("first", "second"):
            has_leased = threading.Event()
            threads.append(threading.Thread(target=work, args=(has_leased,), name=name))
            threads[-1].start()
            assert has_leased.wait(30)
        leases = pool.leases()
        assert [(lease.owner, lease.backend_pid) for lease in leases] == [
            ("first", pids[0]),
            ("second", pids[1]),
        ]
        assert leases[0].held_for > leases[1].held_for >= 0
        assert [lease.idle_for for lease in leases] == [0, 0]
    finally:
        may_end.set()
        for thread in threads:
            thread.join(30)


def test_what_is_warm_is_nobodys_lease(pool: Pool) -> None:
    with unit_of_work():
        ask()
        assert (pool.leases(), pool.stats().warm) == ([], 1)


def this_line_holds_it(has_leased: threading.Event, may_end: threading.Event) -> None:
    with with_connection():
        has_leased.set()
        assert may_end.wait(30)  # Here.


def test_stacks_show_where_the_owner_is(pool: Pool) -> None:
    events = threading.Event(), threading.Event()
    thread = threading.Thread(target=this_line_holds_it, args=events)
    thread.start()
    try:
        assert events[0].wait(30)
        (without,) = pool.leases()
        (lease,) = pool.leases(stacks=True)
        assert without.stack == ""
        assert "in this_line_holds_it" in lease.stack
        assert "assert may_end.wait(30)  # Here." in lease.stack
        assert __file__ in lease.stack
    finally:
        events[1].set()
        thread.join(30)


def test_a_place_where_it_was_leased_is_kept_for_pools_that_look_for_leaks(
    pool_of: PoolOf,
) -> None:
    pool = pool_of(max_size=1, leak_threshold=60)
    lease_connection()
    (lease,) = pool.leases()
    assert "lease_connection()" in lease.leased_at
    assert __file__ in lease.leased_at
    connection.close()


def test_looking_changes_nothing(pool: Pool) -> None:
    def look() -> list[LeaseRecord]:
        repr(pool)
        pool.stats()
        pool.leases()
        return pool.leases(stacks=True)

    with unit_of_work("nightly") as unit:
        ask()
        before, slots = pool.stats(), dict(unit.scope.slots)
        assert look() == []
        assert (pool.stats(), dict(unit.scope.slots)) == (before, slots)
        with connection.cursor():
            before = pool.stats()
            assert len(look()) == 1
            assert pool.stats() == before
        assert (pool.stats().warm, pool.stats().checkouts) == (1, 1)


def test_a_record_cannot_be_changed(pool: Pool) -> None:
    lease_connection()
    (lease,) = pool.leases()
    with pytest.raises(AttributeError):
        lease.owner = "another"  # type: ignore[misc]
    connection.close()
