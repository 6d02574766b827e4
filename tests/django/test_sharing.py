"""One wrapper in several threads, as live servers share it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections

from django_connmgr import ThreadPoolExecutor, lease_connection, unit_of_work

from .conftest import Pool, PoolOf
from .threads import ask, in_a_thread, taken


def use(wrapper: Any) -> int:
    """A query on another thread's wrapper."""
    connections["default"] = wrapper
    backend: int = ask()
    return backend


def test_other_threads_use_the_same_connection(pool: Pool) -> None:
    lease_connection()
    mine = ask()
    wrapper = connections["default"]
    wrapper.inc_thread_sharing()
    try:
        assert [in_a_thread(lambda: use(wrapper)) for _ in range(3)] == [mine] * 3
        assert (ask(), taken(pool), pool.stats().reaped) == (mine, 1, 0)
    finally:
        wrapper.dec_thread_sharing()


def test_it_survives_the_thread_that_leased_it(pool: Pool) -> None:
    def lease() -> tuple[Any, int]:
        connections["default"].inc_thread_sharing()
        return connections["default"], ask()

    wrapper, backend = in_a_thread(lease)
    assert (taken(pool), pool.stats().reaped) == (1, 0)
    assert in_a_thread(lambda: use(wrapper)) == backend
    wrapper.close()
    assert (taken(pool), pool.stats().idle) == (0, 1)


def test_what_is_leased_next_is_shared_too(pool: Pool) -> None:
    wrapper: Any = lease_connection()
    wrapper.inc_thread_sharing()
    try:
        assert wrapper.borrower.release()
        ask()
        assert wrapper.borrower.lease.slot.owner is None
    finally:
        wrapper.dec_thread_sharing()


def test_one_shared_between_two_queries_is_kept(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=4, release="transaction")
    wrapper = connections["default"]
    with unit_of_work():
        ask()
        assert (wrapper.connection, taken(pool)) == (None, 0)
        wrapper.inc_thread_sharing()
        mine = ask()
        assert taken(pool) == 1
        assert in_a_thread(lambda: use(wrapper)) == mine
        wrapper.dec_thread_sharing()
    assert taken(pool) == 0


def test_a_connection_leased_before_it_was_shared_survives_too(pool: Pool) -> None:
    leased, shared = threading.Event(), threading.Event()
    found: list[Any] = []

    def lease() -> None:
        found.extend([lease_connection(), ask()])
        leased.set()
        shared.wait(20)

    thread = threading.Thread(target=lease)
    thread.start()
    leased.wait(20)
    wrapper, backend = found
    wrapper.inc_thread_sharing()
    shared.set()
    thread.join()
    assert taken(pool) == 1
    assert in_a_thread(lambda: use(wrapper)) == backend
    wrapper.close()
    assert taken(pool) == 0


def test_without_sharing_another_thread_is_refused_and_the_owner_keeps_it(pool: Pool) -> None:
    wrapper = lease_connection()
    mine = ask()
    with pytest.raises(DatabaseError, match="created in thread"):
        in_a_thread(wrapper.close)
    with pytest.raises(DatabaseError, match="created in thread"):
        in_a_thread(wrapper.close_if_unusable_or_obsolete)
    assert (ask(), connection.connection is not None, taken(pool)) == (mine, True, 1)


def test_what_was_shared_goes_with_its_thread_s_work_again(pool: Pool) -> None:
    def work() -> None:
        wrapper = connections["default"]
        wrapper.inc_thread_sharing()
        ask()
        wrapper.dec_thread_sharing()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(work).result()
        assert taken(pool) == 0
