"""``manage.py qcluster``."""

from __future__ import annotations

from typing import Any

from django_q.signals import post_execute, post_execute_in_worker
from django_q.tasks import async_task

from tests.runners import work


def hook(task: Any, **kwargs: Any) -> None:
    work.hook(str(task["func"]))


post_execute_in_worker.connect(hook)  # In a worker,
post_execute.connect(hook)  # and in the process that saves results.


def send(name: str) -> None:
    async_task(f"tests.runners.work.{name}", timeout=1 if name == "last" else 30)
