"""Instrumentation wraps a driver's cursor again, or keeps it bare: it holds all the same."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.postgresql import base as postgresql
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper
from django.test import override_settings

from django_connmgr import PoolTimeout, with_connection
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .process import Python
from .threads import in_a_thread

INSERT = "INSERT INTO shop_customer (name) VALUES ('written')"


class Instrumented(CursorWrapper):
    """As django-debug-toolbar's: it keeps nothing of the wrapper that it replaces."""


def wrapped_again(wrapper: Any) -> Any:
    return Instrumented(wrapper.cursor().cursor, wrapper)


def kept(wrapper: Any) -> Any:
    return wrapper.cursor().cursor


def returned(wrapper: Any) -> Any:
    return wrapper.cursor().execute("SELECT 1")


WAYS = pytest.mark.parametrize("open_cursor", [wrapped_again, kept, returned])
ENDS = pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "collected"])
ALIASES = pytest.mark.parametrize("alias", ["default", "file"])


@pytest.fixture(params=["request", "transaction"])
def pool_for(request: pytest.FixtureRequest, pool_of: PoolOf) -> Callable[[str], Pool]:
    return lambda alias: pool_of(alias, max_size=1, timeout=30, release=request.param)


def is_free(alias: str) -> bool:
    """Whether another thread gets the only connection, without waiting for it."""

    def take() -> bool:
        try:
            with with_connection(alias, timeout=0):
                return True
        except PoolTimeout:
            return False

    return bool(in_a_thread(take))


@WAYS
@ENDS
@ALIASES
def test_it_holds_until_the_drivers_cursor_is_done(
    pool_for: Callable[[str], Pool], alias: str, open_cursor: Any, is_closed: bool
) -> None:
    pool = pool_for(alias)
    cursor = open_cursor(connections[alias])
    gc.collect()
    assert (is_free(alias), pool.stats().leased) == (False, 1)
    cursor.execute(INSERT)
    assert not is_free(alias)
    if is_closed:
        cursor.close()
    else:
        del cursor
    assert is_free(alias)
    assert pool.stats().leased == 0
    assert Customer.objects.using(alias).get().name == "written"


@WAYS
@ENDS
@ALIASES
def test_what_it_writes_is_not_in_the_transaction_of_a_waiter_that_rolls_back(
    pool_for: Callable[[str], Pool], alias: str, open_cursor: Any, is_closed: bool
) -> None:
    pool = pool_for(alias)
    is_inside, may_end = threading.Event(), threading.Event()

    def roll_back() -> None:
        with transaction.atomic(using=alias):
            is_inside.set()
            assert may_end.wait(30)
            Customer.objects.using(alias).create(name="rolled back")
            transaction.set_rollback(True, using=alias)

    cursor = open_cursor(connections[alias])
    gc.collect()
    waiter = threading.Thread(target=roll_back)
    waiter.start()
    try:
        while not (pool.stats().waiting or is_inside.is_set()):
            assert waiter.is_alive()
            waiter.join(0.001)
        cursor.execute(INSERT)
        if is_closed:
            cursor.close()
        else:
            del cursor
    finally:
        may_end.set()
        waiter.join(30)
    assert [customer.name for customer in Customer.objects.using(alias).all()] == ["written"]
    assert pool.stats().timeouts == 0


PSYCOPG2 = """
from django.db.backends.utils import CursorWrapper
pool = pools["default"]
Customer.objects.all().delete()
connection.close()

class Instrumented(CursorWrapper):
    pass

def wrapped_again():
    return Instrumented(connection.cursor().cursor, connection)

def kept():
    return connection.cursor().cursor

def is_free():
    def take():
        try:
            with with_connection(timeout=0):
                answers.append(True)
        except PoolTimeout:
            answers.append(False)
    answers = []
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return answers[0]

def roll_back(is_inside, may_end):
    with transaction.atomic():
        is_inside.set()
        assert may_end.wait(30)
        Customer.objects.create(name="rolled back")
        transaction.set_rollback(True)

for open_cursor in (wrapped_again, kept):
    for is_closed in (True, False):
        cursor = open_cursor()
        gc.collect()
        before = is_free()
        is_inside, may_end = threading.Event(), threading.Event()
        waiter = threading.Thread(target=roll_back, args=(is_inside, may_end))
        waiter.start()
        while not (pool.stats().waiting or is_inside.is_set()):
            waiter.join(0.001)
        cursor.execute("INSERT INTO shop_customer (name) VALUES ('written')")
        if is_closed:
            cursor.close()
        del cursor
        may_end.set()
        waiter.join(30)
        names = list(Customer.objects.values_list("name", flat=True))
        print(before, names, is_free(), pool.stats().leased)
        Customer.objects.all().delete()
        connection.close()
"""


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_cursors_of_psycopg2_hold_as_well(python: Python, release: str) -> None:
    out = python(PSYCOPG2, driver="psycopg2", pool=f"max_size=1,timeout=30,release={release}")
    assert out.splitlines() == ["False ['written'] True 0"] * 4


@pytest.mark.parametrize(
    ("alias", "debugging"),
    [("default", postgresql.CursorDebugWrapper), ("file", CursorDebugWrapper)],
)
def test_a_cursor_is_of_djangos_own_class(pool_of: PoolOf, alias: str, debugging: type) -> None:
    """Code that wraps cursors asks for it."""
    pool_of(alias, max_size=1)
    for debug, expected in ((False, CursorWrapper), (True, debugging)):
        with override_settings(DEBUG=debug):
            for make in (connections[alias].cursor, connections[alias].chunked_cursor):
                with make() as cursor:
                    assert type(cursor) is expected
                    assert cursor.db is connections[alias]
