"""``manage.py db_worker``."""

from __future__ import annotations

import functools
from typing import Any

from django_tasks_db.compat import task_finished

from tests.runners import work

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


def make(function: Any) -> Any:
    """A worker finds a task by the name of its function, so that has to be here."""

    @functools.wraps(function)
    def run() -> None:
        function()

    run.__module__ = __name__
    return task(run)


tasks = {function.__name__: make(function) for function in work.TASKS}
globals().update(tasks)


def hook(task_result: Any, **kwargs: Any) -> None:
    work.hook(task_result.task.module_path)


task_finished.connect(hook)


def send(name: str) -> None:
    tasks[name].enqueue()
