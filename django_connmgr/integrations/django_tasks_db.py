"""Tasks of Django in a database: every task that ``manage.py db_worker`` runs is a unit of work.

For ``django.tasks`` of Django 6.0 and later, and for ``django_tasks``, its backport. The immediate
backends of both run a task within the unit of the code that enqueues it.
"""

from typing import Any

from django.apps import apps

from ..units import hook


def install() -> None:
    """Make the tasks of the worker that starts in this process units of work. Idempotent."""
    if apps.is_installed("django_tasks_db"):  # Otherwise its models cannot be imported.
        from django_tasks_db.management.commands.db_worker import Worker

        hook(Worker, "run_task", _name_of)


def _name_of(worker: Any, db_task_result: Any) -> str:  # noqa: ARG001 - a method
    return str(db_task_result.task_path)
