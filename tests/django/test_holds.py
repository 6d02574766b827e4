"""What keeps a connection, and what lets others have it: request mode, on a real server."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    reset_queries,
    transaction,
)
from django.test import override_settings

from django_connmgr import (
    PoolTimeout,
    lease_connection,
    pools,
    release_connection,
    released,
    with_connection,
)
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .threads import ask, in_a_thread, in_threads, taken

#: For waiting in vain.
SHORT = 0.2


def is_free() -> bool:
    """Whether another thread gets the only connection, without waiting for it."""

    def take() -> bool:
        try:
            with with_connection(timeout=0):
                return True
        except PoolTimeout:
            return False

    return bool(in_a_thread(take))


@pytest.fixture
def pool(pool_of: PoolOf) -> Pool:
    """A pool of one, whose connection this thread has used."""
    pool = pool_of(max_size=1)
    ask("SELECT 1")
    return pool


def query_then_wait(rest: Callable[[threading.Barrier], None]) -> list[object]:
    """Six threads, one after the other, make a query; each then waits for all the others."""
    barrier = threading.Barrier(6)
    turn = threading.Lock()

    def work() -> object:
        with turn:
            try:
                result = ask("SELECT 1")
            except PoolTimeout as error:
                result = type(error)
        rest(barrier)
        return result

    return in_threads(6, work)


def wait(barrier: threading.Barrier) -> None:
    barrier.wait(30)


def test_threads_that_wait_for_something_else_lend_their_connections(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=2)
    assert query_then_wait(wait) == [1] * 6
    stats = pool.stats()
    assert (stats.opened, stats.reclaimed, stats.timeouts) == (2, 4, 0)


def test_without_reclaiming_some_wait_in_vain(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=2, timeout=SHORT, reclaim=False)
    results = query_then_wait(wait)
    assert sorted(map(str, results)) == sorted(map(str, [1] * 2 + [PoolTimeout] * 4))
    assert (pool.stats().timeouts, pool.stats().reclaimed) == (4, 0)


def test_without_reclaiming_nobody_hands_over_to_who_waits(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, timeout=30, reclaim=False)
    with connection.cursor():
        thread = threading.Thread(target=ask)
        thread.start()
        while not pool.stats().waiting:
            thread.join(0.001)
    assert pool.stats().waiting == 1
    assert release_connection()
    thread.join(30)
    assert pool.stats().timeouts == 0


def test_without_reclaiming_released_lends_them(pool_of: PoolOf) -> None:
    def rest(barrier: threading.Barrier) -> None:
        with released():
            barrier.wait(30)

    pool = pool_of(max_size=2, reclaim=False)
    assert query_then_wait(rest) == [1] * 6
    assert (pool.stats().reclaimed, pool.stats().timeouts) == (0, 0)


def test_a_held_lease_never_fails_while_many_fight_for_the_pool(pool_of: PoolOf) -> None:
    """Its owner queries now and then, ten times as long as any connection may live.

    It sees no error, and one backend inside a block.
    """
    pool_of(
        max_size=3,
        timeout=10.0,  # Fifty threads on a busy machine.
        max_idle=0.1,
        max_lifetime=0.2,
        check_after=0.05,
        reap_interval=0.1,
    )
    is_over = threading.Event()
    errors: list[BaseException] = []

    def fight() -> None:
        try:
            while not is_over.is_set():
                ask("SELECT 1")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fight) for _ in range(50)]
    for thread in threads:
        thread.start()
    try:
        pids = set()
        for _ in range(20):
            assert ask("SELECT 42") == 42
            with with_connection():
                inside = {ask() for _ in range(3)}
                is_over.wait(0.05)
                inside.add(ask())
            assert len(inside) == 1
            pids |= inside
            is_over.wait(0.05)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert pids
    assert pools["default"].stats().timeouts == 0


# What holds, and what does not.


def test_a_lease_after_a_query_is_free(pool: Pool) -> None:
    assert is_free()
    assert ask("SELECT 1") == 1


def test_an_open_cursor_holds(pool: Pool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert not is_free()
        assert cursor.fetchone() == (1,)
    assert is_free()


def test_the_last_of_several_cursors_frees(pool: Pool) -> None:
    first, second = connection.cursor(), connection.cursor()
    first.close()
    first.close()
    assert not is_free()
    second.close()
    assert is_free()


def test_a_cursor_without_with_holds_until_it_is_dropped(pool: Pool) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert not is_free()
    del cursor
    assert is_free()


def test_a_waiter_gets_the_connection_of_a_dropped_cursor(pool_of: PoolOf) -> None:
    """It sleeps in the queue when the finaliser, which gives nothing back itself, runs."""
    pool = pool_of(max_size=1, timeout=30)
    cursors = [connection.cursor()]
    thread = threading.Thread(target=ask)
    thread.start()
    while not pool.stats().waiting:
        thread.join(0.001)
    cursors.clear()
    thread.join(30)
    assert pool.stats().timeouts == 0


def test_a_cursor_that_another_thread_collects_frees_at_the_owners_next_query(pool: Pool) -> None:
    """The owner may be beginning a hold at that very moment, so it is left to the owner."""
    gc.disable()
    try:
        cycle: list[Any] = [connection.cursor()]
        cycle.append(cycle)
        del cycle
        in_a_thread(gc.collect)
    finally:
        gc.enable()
    assert not is_free()
    assert ask("SELECT 1") == 1
    assert is_free()


def test_a_half_consumed_iterator_holds_until_it_is_dropped(pool: Pool) -> None:
    Customer.objects.bulk_create(Customer(name=str(number)) for number in range(10))
    rows = Customer.objects.order_by("id").iterator(chunk_size=2)
    assert next(rows).name == "0"
    assert not is_free()
    assert next(rows).name == "1"
    del rows
    assert is_free()
    assert ask("SELECT count(*) FROM pg_cursors") == 0


def test_a_half_consumed_iterator_that_another_thread_collects_does_no_harm(pool: Pool) -> None:
    """Its finaliser closes the cursor from there, but changes no hold of the owner's."""
    Customer.objects.bulk_create(Customer(name=str(number)) for number in range(10))
    gc.disable()
    try:
        cycle: list[Any] = [Customer.objects.iterator(chunk_size=2)]
        cycle.append(cycle)
        next(cycle[0])
        with connection.cursor():
            del cycle
            in_a_thread(gc.collect)
            assert not is_free()
    finally:
        gc.enable()
    assert is_free()


def test_a_chunked_cursor_holds(pool: Pool) -> None:
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert cursor.fetchone() == (1,)
        assert not is_free()
        assert cursor.fetchmany(2) == [(2,), (3,)]
    assert is_free()


def test_cursors_are_closed_with_their_connection(pool: Pool) -> None:
    """Or a forgotten one would be closed on a connection that is another thread's by then."""
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 10)")
    cursor.fetchone()
    assert release_connection()
    with pytest.raises(InterfaceError):
        cursor.fetchmany(2)

    def next_borrower() -> int:
        with transaction.atomic():
            left = ask("SELECT count(*) FROM pg_cursors")
            cursor.close()
            return ask("SELECT 1") + left

    assert in_a_thread(next_borrower) == 1


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_transaction_holds(pool: Pool, is_durable: bool) -> None:
    with transaction.atomic(durable=is_durable):
        Customer.objects.create(name="Ada")
        with transaction.atomic():
            pass
        assert not is_free()
        assert not release_connection()
        assert Customer.objects.select_for_update().get().name == "Ada"
    assert is_free()


def test_a_transaction_that_fails_holds_no_more(pool: Pool) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        ask("SELECT 1 / 0")
    assert is_free()


def test_savepoints_do_not_end_the_hold(pool: Pool) -> None:
    with transaction.atomic():
        saved = connection.savepoint()
        Customer.objects.create(name="Ada")
        connection.savepoint_rollback(saved)
        connection.savepoint_commit(connection.savepoint())
        assert not is_free()
    assert not Customer.objects.exists()


def test_autocommit_off_holds(pool: Pool) -> None:
    transaction.set_autocommit(False)
    try:
        Customer.objects.create(name="Ada")
        transaction.commit()
        assert not is_free()
        with transaction.atomic():
            Customer.objects.create(name="Bob")
        assert not is_free()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert is_free()
    assert Customer.objects.get().name == "Ada"


def test_on_commit_hooks_have_the_connection(pool: Pool) -> None:
    seen: list[object] = []
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append((is_free(), ask("SELECT 1"))))
    assert seen == [(False, 1)]
    assert is_free()


def test_a_hook_may_open_a_transaction_of_its_own(pool: Pool) -> None:
    def hook() -> None:
        with transaction.atomic():
            Customer.objects.create(name="Ada")
            assert not is_free()

    with transaction.atomic():
        transaction.on_commit(hook)
        transaction.on_commit(hook)
    assert Customer.objects.count() == 2
    assert is_free()


def test_a_block_holds(pool: Pool) -> None:
    with with_connection():
        assert not is_free()
        with with_connection():
            pass
        assert not is_free()
    assert is_free()


def test_a_leased_connection_is_kept(pool: Pool) -> None:
    lease_connection()
    assert not is_free()
    assert release_connection()
    assert is_free()


def test_code_that_asks_for_a_connection_may_use_the_drivers(pool: Pool) -> None:
    connection.ensure_connection()
    assert not is_free()
    assert connection.connection.execute("SELECT 1").fetchone() == (1,)


def test_execute_wrappers_have_the_connection(pool: Pool) -> None:
    seen = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(is_free())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        ask("SELECT 1")
    assert seen == [False]
    assert is_free()


@override_settings(DEBUG=True)
def test_logged_queries_hold_no_longer_than_others(pool: Pool) -> None:
    reset_queries()
    ask("SELECT 1")
    assert [query["sql"] for query in connection.queries] == ["SELECT 1"]
    cursor = connection.cursor()
    assert not is_free()
    cursor.close()
    assert is_free()


def test_closing_frees(pool: Pool) -> None:
    with connection.cursor():
        connection.close()
        assert is_free()
    connection.close()
    assert ask("SELECT 1") == 1


def test_closing_in_a_transaction_breaks_it_and_frees(pool: Pool) -> None:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        connection.close()
        assert is_free()
        with pytest.raises(DatabaseError):
            ask("SELECT 1")
    assert not Customer.objects.exists()
    assert is_free()


def test_closing_in_a_block_leases_again(pool: Pool) -> None:
    with with_connection():
        connection.close()
        assert is_free()
        ask("SELECT 1")
        assert not is_free()
    assert is_free()


def test_is_usable_does_not_hold(pool: Pool) -> None:
    assert connection.is_usable()
    assert is_free()


@pytest.mark.parametrize("is_leased_before", [False, True])
def test_a_shared_connection_stays_while_it_is_shared(pool: Pool, is_leased_before: bool) -> None:
    if not is_leased_before:
        connection.close()
    connection.inc_thread_sharing()
    try:
        pid = ask()
        assert connection.is_usable()
        wrapper = connection._connections[connection._alias]  # type: ignore[attr-defined]

        def use() -> int:
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                return int(cursor.fetchone()[0])

        assert [in_a_thread(use), ask(), in_a_thread(use)] == [pid] * 3
        assert not is_free()
        assert taken(pool) == 1
    finally:
        connection.dec_thread_sharing()
    assert is_free()


# After the lease was lost.


@pytest.mark.parametrize("end", [transaction.commit, transaction.rollback])
def test_ending_nothing_does_not_end_the_next_owners_transaction(
    pool: Pool, end: Callable[[], None]
) -> None:
    def next_owner() -> int:
        with transaction.atomic():
            Customer.objects.create(name="Ada")
            released_by_us = threading.Event()

            def report() -> None:
                released_by_us.set()

            may_go.set()
            assert is_ended.wait(30)
            count = Customer.objects.count()
            transaction.set_rollback(True)
            return count

    may_go, is_ended = threading.Event(), threading.Event()
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(next_owner()))
    thread.start()
    assert may_go.wait(30)
    end()
    is_ended.set()
    thread.join(30)
    assert results == [1]
    assert Customer.objects.count() == 0


def test_a_lost_lease_is_replaced_at_the_next_transaction(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1)
    ask("SELECT 1")
    in_a_thread(ask)
    with transaction.atomic():
        Customer.objects.create(name="Ada")
    assert Customer.objects.count() == 1
    assert (pool.stats().reclaimed, taken(pool)) == (1, 1)


def test_a_lost_lease_is_not_released_twice(pool: Pool) -> None:
    with connection.cursor():
        pass
    holder = threading.Event()
    is_holding = threading.Event()

    def hold() -> int:
        with with_connection():
            is_holding.set()
            assert holder.wait(30)
            return ask("SELECT 1")

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(hold()))
    thread.start()
    assert is_holding.wait(30)
    assert not release_connection()
    connection.close()
    assert taken(pool) == 1
    holder.set()
    thread.join(30)
    assert results == [1]


def test_an_exception_in_a_block_gives_back(pool: Pool) -> None:
    connection.close()
    with pytest.raises(ZeroDivisionError), with_connection():
        raise ZeroDivisionError
    assert taken(pool) == 0


def test_a_failed_checkout_leaves_no_hold(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, timeout=SHORT)
    holder = connections["default"].copy()
    with holder.cursor():
        with pytest.raises(PoolTimeout):
            ask("SELECT 1")
        with pytest.raises(OperationalError), transaction.atomic():
            pass
        with pytest.raises(OperationalError), with_connection():
            pass
    holder.close()
    assert ask("SELECT 1") == 1
    assert is_free()
    connection.close()
    assert taken(pool) == 0
