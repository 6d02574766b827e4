"""Interleavings that once went wrong, through Django's wrappers."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from django_connmgr import lease_connection, unit_of_work
from django_connmgr.backends.borrower import Borrower
from django_connmgr.units import thread as thread_module

from .conftest import PoolOf
from .threads import ask, in_a_thread

PATIENCE = 30


class Fault(BaseException):
    """What no code expects."""


def query() -> Any:
    return ask("SELECT 1", using="file")


def test_a_units_beginning_bears_that_the_threads_lease_was_taken_back(pool_of: PoolOf) -> None:
    """It looks at what came before: the lease is here, and its slot is not."""
    pool_of("file", max_size=2)
    is_kept, is_over = threading.Event(), threading.Event()
    results: list[str] = []

    def work() -> None:
        lease_connection("file")
        query()
        is_kept.set()
        assert is_over.wait(PATIENCE)
        with unit_of_work("inner"):
            results.append("ran")

    with unit_of_work("outer"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(work,))
        thread.start()
        assert is_kept.wait(PATIENCE)
    is_over.set()
    thread.join(PATIENCE)
    assert results == ["ran"]


def test_an_inner_unit_without_a_pool_leaves_the_outer_one_able_to_lease(pool_of: PoolOf) -> None:
    pool_of("file", max_size=2, release="transaction")
    wrapper: Any = connections["file"]
    options = wrapper.settings_dict["OPTIONS"]
    try:
        with unit_of_work("outer"):
            query()
            query()  # The first one opened a connection, after which settings are looked at.
            with unit_of_work("inner"):
                wrapper.settings_dict["OPTIONS"] = {**options, "pool": False}
                query()
            assert query() == 1
    finally:
        wrapper.settings_dict["OPTIONS"] = options
        wrapper.close()


def test_an_outer_unit_that_ends_while_an_inner_one_looks_at_its_lease_does_no_harm(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_of("file", max_size=2)

    class Seen:
        def __init__(self, lease: Any) -> None:
            self.lease = lease
            self.looks = 0

        @property
        def slot(self) -> Any:
            self.looks += 1
            if self.looks == 2:
                in_a_thread(outer.end)
            return self.lease.slot

    def look(thing: object, name: str, *default: object) -> Any:
        found = getattr(thing, name, *default)
        return Seen(found) if name == "lease" and found is not None else found

    with unit_of_work("outer") as outer:
        lease_connection("file")
        with unit_of_work("inner") as inner:
            monkeypatch.setattr(thread_module, "getattr", look, raising=False)
        monkeypatch.undo()
    assert inner.is_over
    assert outer.is_over


def test_a_checkout_that_is_interrupted_at_its_end_keeps_nothing(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of("file", max_size=2)
    in_a_thread(query)
    seen: list[object] = []

    def strike(*_: object) -> None:
        monkeypatch.undo()
        raise Fault

    def work() -> None:
        with unit_of_work():
            monkeypatch.setattr(Borrower, "_adopt", strike)
            with pytest.raises(Fault):
                query()
            seen.append(pool.stats().leased)
            query()
            seen.append(connections["file"].autocommit)

    in_a_thread(work)
    assert seen == [0, True]


def test_a_wrapper_that_is_shared_while_it_has_a_warm_connection_shares_the_next_lease(
    pool_of: PoolOf,
) -> None:
    """Or else the one thread's end of a query would take the other's connection away."""
    pool = pool_of("file", max_size=2)
    wrapper: Any = connections["file"]
    query()
    wrapper.inc_thread_sharing()
    create, leased, errors = wrapper.create_cursor, list[int](), list[BaseException]()
    is_at_work, may_go_on = threading.Event(), threading.Event()

    def create_slowly(name: str | None = None) -> Any:
        is_at_work.set()
        assert may_go_on.wait(PATIENCE)
        leased.append(pool.stats().leased)
        return create(name)

    def caught(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    def other() -> None:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")

    try:
        cursor = wrapper.cursor()
        wrapper.create_cursor = create_slowly
        thread = threading.Thread(target=caught, args=(other,))
        thread.start()
        assert is_at_work.wait(PATIENCE)
        cursor.close()
        may_go_on.set()
        thread.join(PATIENCE)
    finally:
        del wrapper.create_cursor
        wrapper.dec_thread_sharing()
        wrapper.close()
    assert (leased, errors) == ([1], [])
