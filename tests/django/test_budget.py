"""What a query costs, counted and not timed: function calls, and round trips to the server."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.signals import request_finished, request_started
from django.db import connections

from django_connmgr import unit_of_work, with_connection
from django_connmgr.units.requests import connect_receivers
from testproject.shop.models import Customer

AliasOf = Callable[..., str]
QUERIES = 50


@pytest.fixture(autouse=True)
def table(pool_of: Any) -> Iterator[None]:
    Customer.objects.create(pk=1, name="Ada")
    yield
    Customer.objects.all().delete()


@pytest.fixture
def stock(alias_of: AliasOf) -> Iterator[str]:
    """Django's own engine, with a connection that it keeps."""
    alias = alias_of(
        ENGINE="django.db.backends.postgresql",
        CONN_MAX_AGE=None,
        OPTIONS={},
        NAME=connections["default"].settings_dict["NAME"],
    )
    del connections.settings[alias]["OPTIONS"]["pool"]
    yield alias
    connections[alias].close()


def ours(alias_of: AliasOf, **options: Any) -> str:
    name = connections["default"].settings_dict["NAME"]
    return alias_of(NAME=name, OPTIONS={"pool": {"max_size": 4, **options}})


def calls(alias: str) -> float:
    """Function calls, C's included, of one query of the ORM."""
    return calls_of(lambda: Customer.objects.using(alias).get(pk=1))


def calls_in_a_request(alias: str) -> float:
    """Those of a request with two queries."""

    def request() -> None:
        request_started.send(sender=None, environ={})
        Customer.objects.using(alias).get(pk=1)
        Customer.objects.using(alias).get(pk=1)
        request_finished.send(sender=None)

    return calls_of(request)


def calls_of(work: Callable[[], object]) -> float:
    for _ in range(20):  # Until the statement is prepared and everything is cached.
        work()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(QUERIES):
        work()
    profile.disable()
    return int(pstats.Stats(profile).total_calls) / QUERIES  # type: ignore[attr-defined]


@pytest.mark.parametrize(("release", "budget"), [("request", 12), ("transaction", 25)])
def test_a_query_makes_few_calls_more_than_django_s_own(
    alias_of: AliasOf, stock: str, release: str, budget: int
) -> None:
    alias = ours(alias_of, release=release)
    assert calls(alias) - calls(stock) <= budget


def test_a_query_in_a_unit_of_work_makes_no_more(alias_of: AliasOf, stock: str) -> None:
    alias = ours(alias_of, release="transaction")
    with unit_of_work():
        assert calls(alias) - calls(stock) <= 25


@pytest.mark.parametrize(("release", "budget"), [("request", 55), ("transaction", 66)])
def test_a_request_makes_few_calls_more_than_with_django_s_own(
    alias_of: AliasOf, stock: str, release: str, budget: int
) -> None:
    """What it takes to lease and to release; both requests are units of work."""
    for signal in (request_started, request_finished):
        signal.disconnect(dispatch_uid="django_connmgr")
    connect_receivers()  # After Django's own, as in servers: its test client moves those.
    alias = ours(alias_of, release=release)
    calls_in_a_request(alias)  # Both are there by now, and looked at in every request.
    with_stock = calls_in_a_request(stock)
    assert calls_in_a_request(alias) - with_stock <= budget


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that the driver waited for the server."""
    trips: list[None] = []
    wait = psycopg.Connection.wait

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        trips.append(None)
        return wait(self, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "wait", count)
    return trips


@pytest.mark.parametrize("release", ["request", "transaction"])
def test_a_query_is_one_round_trip_and_so_is_a_unit_of_one(
    alias_of: AliasOf, trips: list[None], release: str
) -> None:
    alias = ours(alias_of, release=release)
    calls(alias)
    trips.clear()
    for _ in range(10):
        with unit_of_work(), with_connection(alias):
            Customer.objects.using(alias).get(pk=1)
    assert len(trips) == 10
