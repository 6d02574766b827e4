"""What a worker's hooks do, in this process and without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_connmgr import pools
from django_connmgr.signals import unit_finished

from .conftest import require

require("celery")

from celery import Celery, signals
from celery.app.trace import trace_task
from celery.fixups.django import DjangoWorkerFixup

from django_connmgr import integrations
from django_connmgr.integrations import celery as integration

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app whose tasks are traced as in a worker."""
    integration.hook_worker()
    with Celery("hooks", broker="memory://", backend="cache+memory://", fixups=[]) as app:
        yield app


@pytest.fixture
def finished() -> Iterator[list[tuple[str, dict[str, int]]]]:
    """Name and checkouts of every unit that ended."""
    names = []

    def note(unit: Any, **kwargs: Any) -> None:
        names.append((unit.name, unit.counts))

    unit_finished.connect(note)
    yield names
    unit_finished.disconnect(note)


def query(**kwargs: Any) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_receiver_that_queries_after_the_task_is_inside_its_unit(
    app: Celery, finished: list[tuple[str, dict[str, int]]]
) -> None:
    task = app.task(query, name="query")
    signals.task_postrun.connect(query)
    try:
        trace_task(task, "1", (), {}, app=app)
    finally:
        signals.task_postrun.disconnect(query)
    assert finished == [("query", {"default": 1})]
    assert repr(pools["default"]) == (
        "<ConnectionPool 'default' open: size=1/4 "
        "connecting=0 idle=1 leased=0 maintenance=0 waiting=0>"
    )
    assert pools["default"].stats().warm == 0


def test_an_eager_task_in_a_transaction_touches_nothing(
    app: Celery, finished: list[tuple[str, dict[str, int]]]
) -> None:
    app.conf.task_always_eager = True
    task = app.task(query, name="query")
    with transaction.atomic():
        query()
        leased = connections["default"].connection
        assert leased is not None
        task.apply_async(link=task.si())
        assert connections["default"].connection is leased
    assert finished == []


def test_the_fixup_of_celery_does_not_see_pooled_connections(app: Celery, tmp_path: Path) -> None:
    """It sees those of other engines, and closes them as ever."""
    connections.databases["unpooled"] = {
        **connections.databases["file"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "db"),
        "OPTIONS": {},
    }
    other = connections["unpooled"]
    try:
        other.ensure_connection()
        query()
        closed = []
        other.close = lambda: closed.append(other.alias)  # type: ignore[method-assign]
        before = pools["default"].stats()
        fixup = DjangoWorkerFixup(app)
        fixup.close_database()
        fixup.on_worker_process_init()
        assert closed == ["unpooled"] * 2
        assert pools["default"].stats() == before
    finally:
        del other.close
        other.close()
        del connections["unpooled"]
        del connections.databases["unpooled"]


def test_hooking_again_changes_nothing(app: Celery) -> None:
    from celery.worker.request import Request

    before = Request.on_failure, DjangoWorkerFixup._db
    integration.hook_worker()
    assert (Request.on_failure, DjangoWorkerFixup._db) == before


def test_the_tasks_of_a_loaded_runner_are_hooked_when_a_worker_starts() -> None:
    """And not before: a process that only sends tasks does not load the worker."""
    signals.worker_init.disconnect(dispatch_uid="django_connmgr")
    others = len(signals.worker_init.receivers)
    integrations.install_loaded()
    integrations.install_loaded()
    assert len(signals.worker_init.receivers) == others + 1
    assert signals.worker_init.receivers[-1][1] is integration.hook_worker
