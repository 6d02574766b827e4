"""What a transaction, a block and a unit promise, where it is easily broken."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from django_connmgr import lease_connection, release_connection, unit_of_work, with_connection
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .threads import ask, in_a_thread, taken


@pytest.fixture
def manual(pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool for an alias whose autocommit is off."""
    pool = pool_of(max_size=2)
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    return pool


@pytest.mark.usefixtures("manual")
def test_atomic_as_the_first_use_with_autocommit_off_is_a_transaction() -> None:
    with transaction.atomic():
        assert connection.in_atomic_block
        with transaction.atomic():
            Customer.objects.create(name="Ada")
        assert not release_connection()
    connection.commit()
    assert Customer.objects.filter(name="Ada").exists()
    connection.rollback()


def test_the_first_unit_of_a_thread_touches_no_open_transaction(pool: Pool) -> None:
    def work() -> bool:
        transaction.set_autocommit(False)
        Customer.objects.create(name="Ada")
        with unit_of_work():
            pass
        transaction.commit()
        transaction.set_autocommit(True)
        return Customer.objects.filter(name="Ada").exists()

    assert in_a_thread(work)


def test_a_block_whose_release_is_interrupted_is_over(pool_of: PoolOf) -> None:
    interruptions = [KeyboardInterrupt]

    def interrupt(raw: object) -> None:
        while interruptions:
            raise interruptions.pop()

    pool_of(max_size=1, timeout=5, reset=interrupt)
    with pytest.raises(KeyboardInterrupt), with_connection():
        ask()
    assert not interruptions
    assert in_a_thread(ask)
    assert ask()
    assert in_a_thread(ask)  # It is reclaimed: no hold was left behind.


def test_a_unit_that_ends_while_its_worker_dies_keeps_its_hands_off_the_next_owner(
    pool_of: PoolOf,
) -> None:
    """The end of a unit cleans a connection; its owner's death must not hand it on meanwhile."""
    ready, may_die = threading.Event(), threading.Event()
    stolen: list[bool] = []

    def die_meanwhile(raw: object) -> None:
        may_die.set()
        worker.join()
        stolen.append(pool.stats().idle > 0)

    pool = pool_of(max_size=1, reclaim=False, reset=die_meanwhile)

    def work() -> None:
        lease_connection()
        ready.set()
        may_die.wait(30)

    with unit_of_work() as unit:
        from contextvars import copy_context

        context = copy_context()
        worker = threading.Thread(target=lambda: context.run(work))
        worker.start()
        ready.wait(30)
    assert unit.is_over
    assert stolen == [False]
    assert (pool.stats().idle, taken(pool)) == (1, 0)


def test_a_shared_wrapper_that_made_its_pool_is_not_kept_by_it(pool_of: PoolOf) -> None:
    pool = pool_of(max_size=1, timeout=5, reclaim=False)

    def share() -> None:
        connection.inc_thread_sharing()
        ask()
        connection.dec_thread_sharing()
        connection.close()

    in_a_thread(share)
    assert ask()
    assert taken(pool) == 1
