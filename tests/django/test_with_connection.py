"""Blocks that hold a connection, and leases by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_connmgr import (
    PoolTimeout,
    lease_connection,
    pools,
    release_connection,
    release_connections,
    unit_of_work,
    with_connection,
)

from .conftest import Pool, PoolOf
from .threads import ask, in_a_thread, taken


def test_a_block_yields_the_threads_wrapper_and_gives_back(pool: Pool) -> None:
    with with_connection() as wrapper:
        assert wrapper is connections["default"]
        assert wrapper.connection is not None
        assert taken(pool) == 1
    assert (connection.connection, pool.stats().idle, taken(pool)) == (None, 1, 0)


def test_only_the_outermost_block_gives_back(pool: Pool) -> None:
    with with_connection():
        backend = ask()
        with with_connection(), with_connection():
            pass
        assert (ask(), taken(pool)) == (backend, 1)
    assert taken(pool) == 0


def test_what_was_leased_before_a_block_stays_leased_after_it(pool: Pool) -> None:
    lease_connection()
    backend = ask()
    with with_connection():
        pass
    assert pool.stats().leased == 1
    assert (ask(), taken(pool), pool.stats().checkouts) == (backend, 1, 1)


def test_a_lease_taken_by_hand_inside_a_block_outlives_it(pool: Pool) -> None:
    with with_connection():
        assert lease_connection() is connections["default"]
    assert taken(pool) == 1
    assert release_connection() is True
    assert (taken(pool), release_connection()) == (0, False)


def test_nothing_is_released_inside_a_block(pool: Pool) -> None:
    with with_connection():
        backend = ask()
        assert (release_connection(), release_connections()) == (False, 0)
        assert ask() == backend


def test_nothing_is_released_inside_a_transaction(pool: Pool) -> None:
    with transaction.atomic():
        backend = ask()
        assert (release_connection(), release_connections()) == (False, 0)
        assert ask() == backend
    assert release_connections() == 1


def test_a_block_that_ends_inside_a_transaction_leaves_it_its_connection(pool: Pool) -> None:
    with transaction.atomic():
        backend = ask()
        with with_connection():
            pass
        assert ask() == backend


def test_a_transaction_that_a_block_was_left_with_is_rolled_back(pool: Pool) -> None:
    with with_connection():
        transaction.set_autocommit(False)
        ask()
    assert (taken(pool), connection.connection) == (0, None)
    assert connection.get_autocommit()


def test_an_error_in_a_block_gives_back_and_comes_through(pool: Pool) -> None:
    with pytest.raises(KeyError), with_connection():
        raise KeyError
    assert taken(pool) == 0


def test_a_block_survives_a_close_within(pool: Pool) -> None:
    with with_connection():
        ask()
        connection.close()
        ask()
    assert taken(pool) == 0


def test_release_connections_counts_every_alias(pool_of: PoolOf) -> None:
    made = [pool_of(alias) for alias in ("default", "second", "file")]
    for alias in ("default", "second", "file"):
        lease_connection(alias)
    assert release_connections() == 3
    assert [taken(pool) for pool in made] == [0, 0, 0]


def test_a_timeout_of_its_own_replaces_the_pools(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, timeout=50, reclaim=False)
    lease_connection()
    backend = ask()

    def wait() -> None:
        with with_connection(timeout=0.01):
            pytest.fail("there is none")

    with pytest.raises(PoolTimeout, match="Oldest holders:\n  thread 'MainThread' \\(alive\\)"):
        in_a_thread(wait)
    assert pool.stats().timeouts == 1
    connection.close()
    with with_connection(timeout=0.01):
        assert ask() == backend


def test_without_reclaiming_it_is_said_for_whom_the_warm_ones_are(pool_of: PoolOf) -> None:
    pool_of(max_size=1, timeout=0.01, reclaim=False)
    ask()
    with pytest.raises(PoolTimeout, match=r"(?s)\b1 warm\b.*\n  thread 'MainThread' \(alive\)"):
        in_a_thread(ask)


def test_after_a_timeout_the_block_is_not_open(pool_of: PoolOf) -> None:
    pool_of(max_size=1, timeout=0.01, reclaim=False)
    ask()

    def wait_then_look() -> Any:
        with pytest.raises(PoolTimeout), with_connection():
            pass
        return connections["default"].borrower.depth, release_connection()  # type: ignore[attr-defined]

    assert in_a_thread(wait_then_look) == (0, False)


def test_a_decorated_function_holds_one_connection_for_its_length(pool: Pool) -> None:
    @with_connection()
    def work(depth: int) -> int:
        """Says something about it."""
        assert taken(pool) == 1
        return work(depth - 1) if depth else ask()

    assert work(3) == in_a_thread(lambda: work(0))
    assert (work.__name__, work.__doc__) == ("work", "Says something about it.")
    assert (taken(pool), pool.stats().checkouts) == (0, 2)


@pytest.mark.parametrize("decorator", [with_connection, unit_of_work])
def test_a_generator_is_refused(decorator: Any) -> None:
    """It would hold nothing when it runs."""
    with pytest.raises(TypeError, match=r"generator .*rows\(\); use 'with "):

        @decorator()
        def rows() -> Iterator[int]:
            yield 1


def test_an_alias_without_a_pool_is_held_and_closed_as_well(alias_of: Any) -> None:
    alias = alias_of(OPTIONS={"pool": False})
    with with_connection(alias) as wrapper:
        assert wrapper.connection is not None
    assert wrapper.connection is None
    assert lease_connection(alias).connection is not None
    assert release_connection(alias) is False


def test_pools_are_the_aliases_that_are_pooled(pool_of: PoolOf, alias_of: Any) -> None:
    unpooled = alias_of(OPTIONS={"pool": False})
    assert list(pools) == ["default", "second", "file"]
    assert len(pools) == 3
    assert "nowhere" not in pools
    for alias in (unpooled, "nowhere"):
        with pytest.raises(KeyError, match="the aliases with one are: default, second, file"):
            pools[alias]
    assert repr(pools).startswith("<Pools {'default': <ConnectionPool 'default' open: size=")
