"""A task reads what the code that enqueued it has committed, though no replica has it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from django_connmgr import consistency, unit_of_work
from django_connmgr.integrations import django_tasks
from testproject.replication import Replication
from testproject.shop.models import Customer

from ..integrations.conftest import require
from .conftest import INTERVAL

require("celery")

from celery import Celery
from celery.contrib.testing.worker import start_worker

from django_connmgr.integrations import celery as integration


@pytest.fixture
def paused(project: Replication) -> Replication:
    for replica in project.replicas:
        replica.pause_replay()
    return project


@pytest.fixture
def app() -> Iterator[Celery]:
    integration.install()
    integration.hook_worker()
    with Celery("tokens", broker="memory://", backend="cache+memory://", fixups=[]) as app:
        yield app


def count() -> int:
    return Customer.objects.count()


def test_a_task_of_celery_reads_its_senders_row(app: Celery, paused: Replication) -> None:
    """By its level: sent after the commit, and by other code than what wrote."""
    expected = {"session": (1, 0), "primary": (1, 1), "eventual": (0, 0)}
    tasks = {level: app.task(consistency(level)(count), name=level) for level in expected}
    results: list[Any] = []
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10):
        with unit_of_work(), transaction.atomic():
            Customer.objects.create(name="Ada")
            for task in tasks.values():
                transaction.on_commit(lambda task=task: results.append(task.delay()))
        with unit_of_work():
            others = [task.delay() for task in tasks.values()]
        after_commit = [result.get(timeout=10) for result in results]
        by_others = [result.get(timeout=10) for result in others]
    assert dict(zip(tasks, zip(after_commit, by_others, strict=True), strict=True)) == expected


def test_a_task_that_a_task_sends_reads_it_too(app: Celery, paused: Replication) -> None:
    inner = app.task(count, name="count")

    def send() -> str:
        return str(inner.delay().id)

    outer = app.task(send, name="outer")
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10):
        with unit_of_work():
            Customer.objects.create(name="Ada")
            result = outer.delay()
        assert app.AsyncResult(result.get(timeout=10)).get(timeout=10) == 1


def test_a_task_of_django_reads_its_enqueuers_row(paused: Replication) -> None:
    result = SimpleNamespace(id="abc")
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL}):
        with unit_of_work():
            Customer.objects.create(name="Ada")
            django_tasks._send_token(result)
        with unit_of_work():
            assert count() == 0
        with unit_of_work():
            django_tasks._take_token(result)
            assert count() == 1


def test_the_signals_of_django_lead_there(paused: Replication) -> None:
    signals = pytest.importorskip("django.tasks.signals", reason="Django 6.0 has tasks.")
    django_tasks.install()
    task = SimpleNamespace(module_path="shop.count")
    result = SimpleNamespace(id="def", task=task, backend="default", status="READY")
    with unit_of_work():
        Customer.objects.create(name="Ada")
        signals.task_enqueued.send(None, task_result=result)
    with unit_of_work():
        signals.task_started.send(None, task_result=result)
        assert count() == 1
    connections["default"].close()
