"""The second time a wrapper leases, it does less: what it must do all the same."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.postgresql import base as stock

from django_connmgr import (
    lease_connection,
    pools,
    release_connection,
    unit_of_work,
    with_connection,
)
from django_connmgr.backends.postgresql.base import DatabaseWrapper, PooledPostgreSQL

from .conftest import Pool, PoolOf
from .server import Server
from .threads import ask, in_a_thread, in_threads, taken


@pytest.fixture
def pool(pool_of: PoolOf) -> Pool:
    return pool_of(max_size=1, release="transaction")


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that this thread's wrapper was told to forget its session."""
    forgotten: list[None] = []
    monkeypatch.setattr(connection, "forget_session", lambda: forgotten.append(None))
    return forgotten


def test_it_knows_the_session_as_long_as_nobody_else_had_it(
    pool: Pool, forgotten: list[None]
) -> None:
    for _ in range(3):
        with unit_of_work():
            ask()
            ask()
    assert len(forgotten) == 1


def test_it_forgets_the_session_if_another_thread_had_it(pool: Pool, forgotten: list[None]) -> None:
    mine = ask()
    assert in_a_thread(ask) == mine
    assert ask() == mine
    assert len(forgotten) == 2


def test_it_forgets_the_session_if_it_was_reclaimed(pool_of: PoolOf, forgotten: list[None]) -> None:
    pool_of(max_size=1)
    with unit_of_work():
        mine = ask()
        assert in_a_thread(ask) == mine
        assert ask() == mine
    assert len(forgotten) == 2


def test_it_forgets_the_session_if_the_end_of_its_unit_reset_it(
    pool_of: PoolOf, forgotten: list[None]
) -> None:
    """On another thread, with nobody else's having it in between."""
    pool_of(max_size=1, reset="session")
    with unit_of_work() as unit:
        ask()
        ask("SELECT set_config('statement_timeout', '12345', false)")
        in_a_thread(unit.end)
        ask()
    assert len(forgotten) == 2


def test_it_forgets_the_session_if_a_callable_resets_it(
    pool_of: PoolOf, forgotten: list[None]
) -> None:
    pool_of(max_size=1, release="transaction", reset=lambda raw: None)
    ask()
    ask()
    assert len(forgotten) == 2


def test_settings_that_were_changed_in_place_count_from_the_next_unit_on(pool: Pool) -> None:
    settings = connection.settings_dict
    before = settings["OPTIONS"]
    with unit_of_work():
        ask()
    settings["OPTIONS"] = {**before, "application_name": "changed"}
    try:
        with unit_of_work():
            assert ask("SELECT current_setting('application_name')") == "changed"
        assert pools["default"] is not pool
    finally:
        connection.close()
        connection.close_pool()
        settings["OPTIONS"] = before


def test_an_engine_that_ensures_connections_in_its_own_way_is_asked_every_time(pool: Pool) -> None:
    asked: list[None] = []

    class Engine(stock.DatabaseWrapper):
        def ensure_connection(self) -> None:
            if self.connection is None:
                asked.append(None)
            super().ensure_connection()

    class Own(PooledPostgreSQL, Engine):
        pass

    wrapper = Own(connection.settings_dict, "default")
    for _ in range(3):
        asked.clear()
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert asked


@pytest.mark.parametrize("is_killed", [False, True], ids=["recycled", "killed"])
def test_errors_of_the_driver_are_django_s(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, server: Server, is_killed: bool
) -> None:
    def refuse(params: object) -> Any:
        raise psycopg.OperationalError("not today")

    backend = ask()
    if is_killed:  # While its thread may have it again.
        server.kill({backend})
    else:
        pool.recycle()
    monkeypatch.setattr(connection, "get_new_connection", refuse)
    with pytest.raises(OperationalError, match="not today"):
        ask()


def test_what_an_engine_keeps_for_each_connection_is_that_connection_s(pool_of: PoolOf) -> None:
    pool_of(max_size=2)

    class Own(DatabaseWrapper):
        def get_new_connection(self, params: Any) -> Any:
            self.statements: list[str] = []
            return super().get_new_connection(params)

    both = threading.Barrier(2)

    def keep() -> list[str]:
        wrapper = connections["default"] = Own(connection.settings_dict, "default")
        with with_connection():
            both.wait(20)
            return wrapper.statements

    one, other = in_threads(2, keep)
    assert one is not other


def test_a_decorator_releases_on_each_thread_that_runs_the_function(pool_of: PoolOf) -> None:
    """The first that enters leaves first."""
    pool = pool_of(max_size=2)
    has_entered, has_left = threading.Barrier(2), threading.Event()
    order = iter(["first", "second"])
    turn = threading.Lock()

    @with_connection()
    def work() -> str:
        with turn:
            name = next(order)
        ask()
        has_entered.wait(20)
        assert name == "first" or has_left.wait(20)
        return name

    def run() -> None:
        if work() == "first":
            assert taken(pool) == 1
            has_left.set()

    in_threads(2, run)
    assert taken(pool) == 0


def test_who_leases_while_a_connection_is_given_back_keeps_what_it_has(pool_of: PoolOf) -> None:
    """A handler of the log does, for example: the lease that ended is another unit's."""
    meanwhile: list[Any] = []
    wrapper: Any = connection

    def reset_and_log(raw: object) -> None:
        if is_logging and not meanwhile:
            with transaction.atomic():
                ask()
                meanwhile.append(wrapper.borrower.lease)
                meanwhile.append(wrapper.borrower.lease.slot)

    is_logging = False
    pool = pool_of(max_size=2, reset=reset_and_log)
    with unit_of_work() as outer:
        lease_connection()
        ended = wrapper.borrower.lease.slot
        with unit_of_work() as inner:
            is_logging = True
            assert release_connection()
            lease, slot = meanwhile
            assert slot is not ended
            assert lease is not wrapper.borrower.lease
            assert ended not in outer.scope.slots
            assert slot in inner.scope.slots
            lease_connection()
            assert wrapper.borrower.lease.slot in inner.scope.slots
        assert taken(pool) == 0
