"""Django-Q2: every task that a cluster runs is one unit of work, and so is saving its result.

The processes of a cluster have a loop for all their tasks, and no function for one. So the queues
that they loop over begin and end the units: all that happens between two ``get()`` is inside.
Tasks with ``sync=True`` call other names of these functions, and stay within their caller's unit.
"""

from contextlib import ExitStack
from typing import Any

from django.apps import apps

from ..units import hook, task_unit


def install() -> None:
    """Make the tasks of the clusters that start in this process units of work. Idempotent."""
    if apps.is_installed("django_q"):  # Otherwise its models cannot be imported.
        from django_q import cluster

        cluster.worker = worker
        cluster.monitor = monitor
        hook(cluster, "scheduler", lambda *_, **__: "django_q: scheduler")


def worker(task_queue: Any, *args: Any) -> None:
    """What the process of a worker runs."""
    from django_q.worker import worker

    with _UnitsOf(task_queue, "{}") as queue:
        worker(queue, *args)


def monitor(result_queue: Any, *args: Any) -> None:
    """What the process that saves results runs."""
    from django_q.monitor import monitor

    with _UnitsOf(result_queue, "{}: monitor") as queue:
        monitor(queue, *args)


class _UnitsOf(ExitStack):
    """A queue whose items are units of work until the next one is asked for."""

    def __init__(self, queue: Any, name: str) -> None:
        super().__init__()
        self._queue = queue
        self._name = name

    def get(self) -> Any:
        from django_q.utils import get_func_repr

        self.close()
        item = self._queue.get()
        if item != "STOP":
            self.enter_context(task_unit(self._name.format(get_func_repr(item["func"]))))
        return item
