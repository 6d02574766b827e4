"""Pools are resized and closed while they are used, on a real server."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from django_connmgr import PoolClosed, pools
from django_connmgr.backends.postgresql.base import DatabaseWrapper

from .conftest import Pool, PoolOf
from .server import Server, await_that
from .threads import ask, in_threads


@pytest.mark.parametrize(
    ("max_size", "min_size"),
    [
        (0, None),
        (-1, None),
        (2, None),  # Below the min_size that there is.
        (4, 5),
        (4, -1),
        ("many", None),
        (2.5, None),
        (True, None),
        (4, "few"),
    ],
)
def test_a_wrong_size_is_refused_and_changes_nothing(
    pool_of: PoolOf, max_size: Any, min_size: Any
) -> None:
    pool = pool_of(max_size=4, min_size=3)
    ask()
    pool.maintain()
    before = pool.stats()
    assert (before.max_size, before.min_size, before.size) == (4, 3, 3)
    with pytest.raises(ValueError, match=r"takes a whole number|is larger than 'max_size'"):
        pool.resize(max_size, min_size=min_size)
    assert pool.stats() == before
    pool.maintain()
    assert pool.stats() == before


def test_sizes_may_be_strings_as_in_the_options(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=4, min_size=3)
    pool.resize("5", min_size="2")
    assert (pool.stats().max_size, pool.stats().min_size) == (5, 2)
    pool.resize("none")
    assert pool.stats().max_size is None


def test_close_while_a_connection_is_being_opened_refuses_it(
    pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = DatabaseWrapper.get_new_connection
    is_opening, may_open = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def get_new_connection(self: Any, params: Any) -> Any:
        is_opening.set()
        assert may_open.wait(30)
        return connect(self, params)

    def work() -> None:
        try:
            ask()
        except PoolClosed as error:
            errors.append(error)

    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", get_new_connection)
    opener = threading.Thread(target=work)
    opener.start()
    assert is_opening.wait(30)
    pool.close()
    assert pool.stats().connecting == 1
    may_open.set()
    opener.join(30)
    assert [str(error) for error in errors] == [
        "Pool 'default' was closed while a connection was being opened."
    ]
    stats = pool.stats()
    assert (stats.status, stats.size, dict(stats.closed)) == ("closed", 0, {"pool_closed": 1})
    await_that(lambda: server.count() == 0)


def test_after_close_pool_the_next_use_has_a_new_pool(pool: Pool) -> None:
    before = ask()
    connection.close_pool()
    assert ask() != before
    assert sorted(in_threads(2, ask)) != [before]
    assert pools["default"] is not pool
    assert (pool.stats().size, pools["default"].stats().status) == (0, "open")
