"""``release="transaction"``: a connection for each query or outermost transaction."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from django_connmgr import (
    lease_connection,
    pools,
    release_connection,
    released,
    unit_of_work,
    with_connection,
)
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .test_holds import SHORT, query_then_wait, wait
from .threads import ask, taken


@pytest.fixture
def pool(pool_of: PoolOf) -> Pool:
    return pool_of(max_size=2, release="transaction", reclaim=False, timeout=5.0)


def leased() -> int:
    return taken(pools["default"])


def test_threads_that_wait_for_something_else_hold_nothing(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=2, release="transaction", reclaim=False, timeout=SHORT)
    assert query_then_wait(wait) == [1] * 6
    assert (pool.stats().reclaimed, pool.stats().timeouts, taken(pool)) == (0, 0, 0)


def test_a_query_gives_back(pool: Pool) -> None:
    customer = Customer.objects.create(name="Ada")
    assert leased() == 0
    assert list(Customer.objects.all()) == [customer]
    assert leased() == 0


def test_a_cursor_holds_until_it_is_closed_or_dropped(pool: Pool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert leased() == 1
        assert cursor.fetchone() == (1,)
    assert leased() == 0
    cursor = connection.cursor()
    assert leased() == 1
    del cursor
    assert leased() == 0
    assert ask("SELECT 1") == 1


def test_an_iterator_holds_until_it_is_exhausted_or_dropped(pool: Pool) -> None:
    Customer.objects.bulk_create(Customer(name=str(number)) for number in range(5))
    rows = Customer.objects.iterator(chunk_size=2)
    next(rows)
    assert leased() == 1
    assert len(list(rows)) == 4
    assert leased() == 0
    rows = Customer.objects.iterator(chunk_size=2)
    next(rows)
    del rows
    assert leased() == 0


def test_a_transaction_has_one_connection_to_its_end(pool: Pool) -> None:
    with transaction.atomic():
        pids = {ask() for _ in range(3)}
        with transaction.atomic():
            pids.add(ask())
        assert (len(pids), leased()) == (1, 1)
    assert leased() == 0


def test_a_transaction_that_fails_gives_back(pool: Pool) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        ask("SELECT 1 / 0")
    assert leased() == 0
    with transaction.atomic():
        try:
            with transaction.atomic():
                ask("SELECT 1 / 0")
        except DatabaseError:
            pass
        Customer.objects.create(name="Ada")
    assert leased() == 0
    assert Customer.objects.count() == 1


def test_a_failed_query_gives_back(pool: Pool) -> None:
    with pytest.raises(DatabaseError):
        ask("SELECT 1 / 0")
    assert leased() == 0


def test_on_commit_hooks_have_a_connection(pool: Pool) -> None:
    seen: list[Any] = []

    def hook() -> None:
        seen.append((ask("SELECT 1"), leased()))

    def nested() -> None:
        with transaction.atomic():
            seen.append(ask("SELECT 2"))

    with transaction.atomic():
        transaction.on_commit(hook)
        transaction.on_commit(nested)
        transaction.on_commit(lambda: seen.append(ask("SELECT 3")))
    assert seen == [(1, 1), 2, 3]
    assert leased() == 0
    transaction.on_commit(lambda: seen.append(ask("SELECT 4")))
    assert seen[-1] == 4
    assert leased() == 0


def test_a_hook_that_fails_gives_back(pool: Pool) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Customer.objects.create(name="Ada")
        transaction.on_commit(fail)
    assert leased() == 0
    assert Customer.objects.count() == 1


def test_autocommit_off_holds(pool: Pool) -> None:
    transaction.set_autocommit(False)
    pid = ask()
    transaction.commit()
    assert (ask(), leased()) == (pid, 1)
    transaction.rollback()
    transaction.set_autocommit(True)
    assert leased() == 0
    assert connection.get_autocommit()
    assert leased() == 0


def test_locks_last_as_long_as_the_transaction(pool: Pool) -> None:
    Customer.objects.create(name="Ada")
    has_locked, may_end = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic():
            Customer.objects.select_for_update().get()
            has_locked.set()
            assert may_end.wait(30)

    thread = threading.Thread(target=lock)
    thread.start()
    assert has_locked.wait(30)
    with transaction.atomic():
        assert not Customer.objects.select_for_update(skip_locked=True).exists()
    may_end.set()
    thread.join(30)
    with transaction.atomic():
        assert Customer.objects.select_for_update(skip_locked=True).exists()


def test_locking_outside_a_transaction_is_refused(pool: Pool) -> None:
    with pytest.raises(TransactionManagementError):
        Customer.objects.select_for_update().get()
    assert leased() == 0


def test_a_durable_transaction_is_the_outermost(pool: Pool) -> None:
    with transaction.atomic(durable=True):
        assert leased() == 1
    assert leased() == 0
    with transaction.atomic(), pytest.raises(RuntimeError), transaction.atomic(durable=True):
        pass
    assert leased() == 0


def test_atomic_requests_hold_for_the_view(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.handlers.base import BaseHandler
    from django.http import HttpRequest, HttpResponse

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def view(request: HttpRequest) -> HttpResponse:
        pids = {ask(), ask()}
        return HttpResponse(f"{len(pids)} {leased()} {connection.in_atomic_block}")

    handler = BaseHandler()
    response = handler.make_view_atomic(view)(RequestFactory().get("/"))
    assert response.content == b"1 1 True"
    assert leased() == 0


def test_a_block_holds(pool: Pool) -> None:
    with with_connection():
        assert len({ask(), ask()}) == 1
        assert leased() == 1
    assert leased() == 0


def test_a_leased_connection_stays(pool: Pool) -> None:
    with unit_of_work():
        lease_connection()
        ask()
        assert leased() == 1
    assert leased() == 0


def test_session_state_stays_for_the_unit(pool: Pool) -> None:
    with unit_of_work():
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE mine (id int)")
        assert leased() == 1
        assert ask("SELECT count(*) FROM mine") == 0
    assert leased() == 0


def test_closing_anywhere_is_harmless(pool: Pool) -> None:
    connection.close()
    ask()
    connection.close()
    with with_connection():
        connection.close()
        ask()
    with transaction.atomic():
        connection.close()
    assert leased() == 0
    assert ask("SELECT 1") == 1


def test_commit_and_rollback_in_autocommit_lease_nothing(pool: Pool) -> None:
    ask()
    transaction.commit()
    transaction.rollback()
    assert leased() == 0
    assert pool.stats().checkouts == 1


def test_debug_cursors_and_wrappers_give_back(pool: Pool) -> None:
    seen: list[int] = []

    def wrapper(execute: Any, *args: Any) -> Any:
        seen.append(leased())
        return execute(*args)

    with CaptureQueriesContext(connection) as queries, connection.execute_wrapper(wrapper):
        release_connection()
        ask("SELECT 1")
        assert leased() == 0
    assert [query["sql"] for query in queries] == ["SELECT 1"]
    assert seen == [1]
    release_connection()


# ``released()``, in either mode.


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_released_refuses_in_a_transaction(pool_of: PoolOf, release: str) -> None:
    pool_of(max_size=1, release=release)
    with transaction.atomic():
        Customer.objects.create(name="Ada")
        with pytest.raises(TransactionManagementError, match="'default'"), released():
            pass
        assert Customer.objects.count() == 1
    assert Customer.objects.count() == 1


def test_released_gives_back_inside_a_block_and_the_next_query_leases(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with with_connection(), released("default"):
        assert leased() == 0
        assert ask("SELECT 1") == 1
        assert leased() == 1
    release_connection()
    assert leased() == 0


def test_released_decorates(pool_of: PoolOf) -> None:
    pool_of(max_size=1)

    @released()
    def slow() -> int:
        return leased()

    ask()
    assert (leased(), slow(), leased()) == (1, 0, 0)


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_released_refuses_while_autocommit_is_off(pool_of: PoolOf, release: str) -> None:
    pool_of(max_size=1, release=release)
    transaction.set_autocommit(False)
    try:
        Customer.objects.create(name="Ada")
        with pytest.raises(TransactionManagementError), released():
            pass
        transaction.commit()
        with released():
            assert leased() == 0
    finally:
        transaction.set_autocommit(True)
    assert Customer.objects.count() == 1
