"""Asynchronous requests whose clients hang up while a query runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

from testproject.shop.models import Customer

from .conftest import Pool
from .server import Server, await_that
from .threads import ask
from .urls import OUTCOMES
from .visit import Visit

pytestmark = [
    pytest.mark.usefixtures("no_loop_left"),
    pytest.mark.urls("tests.django.urls"),
]


@contextmanager
def cancelling(is_on: bool) -> Iterator[None]:
    OUTCOMES.clear()
    with override_settings(CONNMGR={"CANCEL_ON_DISCONNECT": is_on}):
        yield


def hang_up_in_a_query(server: Server, path: str) -> None:
    async def visit() -> None:
        visit = Visit(ASGIHandler(), path)
        await asyncio.to_thread(await_that, lambda: server.is_running("pg_sleep"))
        await visit.hang_up()

    async_to_sync(visit)()


@pytest.mark.parametrize("path", ["/sleep/", "/sleep-async/"])
def test_the_query_is_cancelled_and_the_transaction_rolled_back(
    pool: Pool, server: Server, path: str
) -> None:
    with cancelling(True):
        hang_up_in_a_query(server, f"{path}?seconds=20")
        await_that(lambda: len(OUTCOMES) == 1)
    assert "was cancelled, and nothing waits for its result" in OUTCOMES[0]
    assert f"GET {path}" in OUTCOMES[0]
    await_that(lambda: not server.is_running("pg_sleep"))
    await_that(lambda: pool.stats().closed == {"cancelled": 1})
    assert pool.stats().leased == 0
    assert not Customer.objects.exists()
    assert ask("SELECT 1") == 1


def test_it_goes_on_if_that_is_not_asked_for(pool: Pool, server: Server) -> None:
    with cancelling(False):
        hang_up_in_a_query(server, "/sleep/?seconds=0.5")
        await_that(lambda: len(OUTCOMES) == 1)
    assert OUTCOMES == ["done"]
    assert Customer.objects.filter(name="sleeper").exists()
    await_that(lambda: pool.stats().leased == 0)


def test_what_runs_no_query_then_is_left_to_its_end(pool: Pool) -> None:
    """Nothing is lost in silence: it commits, or it gets an error."""

    async def visit() -> None:
        visit = Visit(ASGIHandler(), "/hesitate/")
        await asyncio.to_thread(await_that, lambda: OUTCOMES == ["hesitates"])
        leaving = asyncio.create_task(visit.hang_up())
        await asyncio.sleep(0.1)  # The view's coroutine is cancelled by then.
        OUTCOMES.append("gone")
        await leaving

    with cancelling(True):
        async_to_sync(visit)()
        await_that(lambda: len(OUTCOMES) == 3)
    assert OUTCOMES[2] == "done"
    assert Customer.objects.filter(name="hesitant").exists()
    await_that(lambda: pool.stats().leased == 0)
