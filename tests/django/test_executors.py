"""Threads and executors: each call works for its submitter's unit, and releases at its end."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from contextvars import ContextVar
from typing import Any

import pytest
from django.db import connection, transaction

from django_connmgr import (
    PoolError,
    Thread,
    ThreadPoolExecutor,
    lease_connection,
    release_connection,
    unit_of_work,
    with_connection,
    wrap_executor,
)
from django_connmgr.backends import permits
from django_connmgr.units.current import current_unit
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .threads import ask, in_a_thread, taken

MakeExecutor = Callable[..., futures.ThreadPoolExecutor]


def wrapped(max_workers: int) -> futures.ThreadPoolExecutor:
    return wrap_executor(futures.ThreadPoolExecutor(max_workers))


either = pytest.mark.parametrize("make", [ThreadPoolExecutor, wrapped])


def leased(pool: Pool) -> int:
    return taken(pool)


@either
def test_a_call_releases_when_it_returns(pool: Pool, make: MakeExecutor) -> None:
    with make(1) as executor:
        assert executor.submit(ask, "SELECT 1").result(30) == 1
        # The thread lives on, so what it leased would be leased still.
        assert executor.submit(lambda: leased(pool)).result(30) == 0
        assert list(executor.map(ask, ["SELECT 1", "SELECT 2"])) == [1, 2]
        assert executor.submit(lambda: leased(pool)).result(30) == 0
    stats = pool.stats()
    assert (leased(pool), stats.reaped, stats.reclaimed) == (0, 0, 0)


@either
def test_a_call_that_fails_releases(pool: Pool, make: MakeExecutor) -> None:
    def fail() -> None:
        lease_connection()
        raise ZeroDivisionError

    def fail_in_a_transaction() -> None:
        with transaction.atomic():
            Customer.objects.create(name="Ada")
            raise ZeroDivisionError

    with make(1) as executor:
        for call in (fail, fail_in_a_transaction):
            with pytest.raises(ZeroDivisionError):
                executor.submit(call).result(30)
            assert executor.submit(lambda: leased(pool)).result(30) == 0
    assert not Customer.objects.exists()


@either
def test_a_call_that_turned_autocommit_off_releases(pool: Pool, make: MakeExecutor) -> None:
    with make(1) as executor:
        executor.submit(transaction.set_autocommit, False).result(30)
        assert executor.submit(lambda: leased(pool)).result(30) == 0
        assert executor.submit(transaction.get_autocommit).result(30)


@either
def test_many_calls_share_a_small_pool(pool_of: PoolOf, make: MakeExecutor) -> None:
    pool = pool_of(max_size=2, reclaim=False)
    with make(8) as executor:
        assert list(executor.map(ask, ["SELECT 1"] * 40)) == [1] * 40
    assert (pool.stats().timeouts, pool.stats().reaped) == (0, 0)


@either
def test_a_call_works_for_its_submitters_unit(pool: Pool, make: MakeExecutor) -> None:
    with make(1) as executor:
        with unit_of_work("first") as unit:
            assert executor.submit(current_unit.get).result(30) is unit
        assert executor.submit(current_unit.get).result(30) is None
        with unit_of_work("second"):
            names = executor.map(lambda _: getattr(current_unit.get(), "name", None), range(2))
            assert list(names) == ["second"] * 2


@either
def test_the_end_of_the_unit_takes_what_a_call_does_not_use(pool: Pool, make: MakeExecutor) -> None:
    has_leased, may_go = threading.Event(), threading.Event()

    def work() -> int:
        lease_connection()
        has_leased.set()
        assert may_go.wait(30)
        return int(ask("SELECT 1"))

    with make(1) as executor:
        with unit_of_work():
            future = executor.submit(work)
            assert has_leased.wait(30)
            assert leased(pool) == 1
        assert leased(pool) == 0
        may_go.set()
        assert future.result(30) == 1


@either
def test_what_a_call_uses_goes_when_it_stops(pool: Pool, make: MakeExecutor) -> None:
    is_inside, may_go = threading.Event(), threading.Event()

    def work() -> tuple[int, int]:
        with with_connection():
            pid = ask()
            is_inside.set()
            assert may_go.wait(30)
            is_same = int(ask() == pid)
        return is_same, leased(pool)

    with make(1) as executor:
        with unit_of_work():
            future = executor.submit(work)
            assert is_inside.wait(30)
        assert leased(pool) == 1
        may_go.set()
        assert future.result(30) == (1, 0)


def test_a_context_of_the_submitter_is_seen_and_not_changed(pool: Pool) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    def look_and_change() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    variable.set("set")
    with ThreadPoolExecutor(2) as executor:
        assert [executor.submit(look_and_change).result(30) for _ in range(2)] == ["set"] * 2
    assert variable.get() == "set"


def test_a_wrapped_executor_is_the_same_one() -> None:
    executor = futures.ThreadPoolExecutor(1)
    assert wrap_executor(executor) is executor
    executor.shutdown()


def test_a_thread_releases_when_it_ends(pool: Pool) -> None:
    seen: list[object] = []

    def work(*names: str, last: str) -> None:
        lease_connection()
        unit = current_unit.get()
        seen.extend([names, last, unit.name if unit else None])

    with unit_of_work("starter"):
        thread = Thread(target=work, args=("a", "b"), kwargs={"last": "c"}, name="mine")
        thread.start()
        thread.join(30)
        assert leased(pool) == 0
    assert (seen, thread.name) == ([("a", "b"), "c", "starter"], "mine")
    assert pool.stats().reaped == 0


def test_a_subclass_with_its_own_run_releases_too(pool: Pool) -> None:
    class Worker(Thread):
        def run(self) -> None:
            lease_connection()

    thread = Worker()
    thread.start()
    thread.join(30)
    assert (leased(pool), pool.stats().reaped) == (0, 0)


# ``permanent_checkout``: outside a unit of work and outside a block.


@pytest.fixture
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(permits, "_warned", set())
    yield
    connection.close()


@pytest.mark.usefixtures("fresh_warnings")
def test_a_permanent_checkout_is_warned_about_once_for_each_place(pool_of: PoolOf) -> None:
    pool_of(max_size=1, permanent_checkout="warn")

    def lease() -> None:
        lease_connection()
        release_connection()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            lease()
        Customer.objects.exists()
    assert [warning.category for warning in caught] == [permits.PermanentCheckoutWarning] * 2
    assert {warning.filename for warning in caught} == {__file__}
    assert caught[0].lineno == lease.__code__.co_firstlineno + 1


@pytest.mark.usefixtures("fresh_warnings")
def test_a_permanent_checkout_can_be_forbidden(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, permanent_checkout="forbid")
    with pytest.raises(PoolError, match=r"unit_of_work\(\)"):
        Customer.objects.exists()
    with pytest.raises(PoolError), transaction.atomic():
        pass
    assert not connection.in_atomic_block
    assert pool.stats().opened == 0


@pytest.mark.parametrize("policy", ["warn", "forbid"])
@pytest.mark.parametrize("where", [unit_of_work, with_connection])
def test_inside_a_unit_or_a_block_it_is_none(
    pool_of: PoolOf, policy: str, where: Callable[[], Any]
) -> None:
    pool_of(max_size=1, permanent_checkout=policy)
    with where():
        assert ask("SELECT 1") == 1
    with unit_of_work():
        # Nor in the threads that work for it.
        thread_pool = ThreadPoolExecutor(1)
        assert thread_pool.submit(ask, "SELECT 1").result(30) == 1
        thread_pool.shutdown()


@pytest.mark.usefixtures("fresh_warnings")
def test_threads_of_others_have_no_unit(pool_of: PoolOf) -> None:
    pool_of(max_size=1, permanent_checkout="forbid")
    with unit_of_work(), pytest.raises(PoolError):
        in_a_thread(ask)
