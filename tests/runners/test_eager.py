"""A task that is run in place stays in the unit, and in the transaction, of its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from django_connmgr import unit_of_work
from django_connmgr.signals import unit_finished
from django_connmgr.units.current import find_unit

from ..integrations.conftest import database, require  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("database")

#: In which units the task ran.
units: list[str | None] = []


def task() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    unit = find_unit()
    units.append(unit and unit.name)


def run_by_dramatiq(broker_url: str) -> None:
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    dramatiq.actor(task, broker=StubBroker(middleware=[]))()


def run_by_rq(broker_url: str) -> None:
    from redis import Redis
    from rq import Queue

    with Redis.from_url(broker_url) as redis:
        Queue(connection=redis, is_async=False).enqueue(task)


def run_by_huey(broker_url: str) -> None:
    from huey import MemoryHuey

    MemoryHuey(immediate=True).task()(task)()


def run_by_django(broker_url: str) -> None:
    if find_spec("django.tasks"):
        from django.tasks import task as as_task
    else:
        from django_tasks import task as as_task
    package = as_task.__module__.rpartition(".")[0]
    backend = f"{package}.backends.immediate.ImmediateBackend"
    with override_settings(TASKS={"default": {"BACKEND": backend}}):
        as_task(task).enqueue()


WAYS = {
    "dramatiq": run_by_dramatiq,
    "rq": run_by_rq,
    "huey": run_by_huey,
    "django_tasks": run_by_django,
}


@pytest.fixture
def finished() -> Iterator[list[str]]:
    names: list[str] = []

    def note(unit: Any, **kwargs: Any) -> None:
        names.append(unit.name)

    unit_finished.connect(note)
    yield names
    unit_finished.disconnect(note)


@pytest.mark.parametrize("module", WAYS)
def test_a_task_in_place_is_a_part_of_its_callers_unit(
    module: str, broker_url: str, finished: list[str]
) -> None:
    if module != "django_tasks" or not find_spec("django.tasks"):  # Django's own, or the backport.
        require(module)
    install(module)
    units.clear()
    run: Callable[[str], None] = WAYS[module]
    with unit_of_work("caller"), transaction.atomic():
        task()
        leased = connections["default"].connection
        run(broker_url)
        assert connections["default"].connection is leased
    assert (units, finished) == (["caller"] * 2, ["caller"])


def install(module: str) -> None:
    import_module(f"django_connmgr.integrations.{module}").install()
