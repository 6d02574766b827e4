"""``manage.py run_huey``."""

from __future__ import annotations

from typing import Any

from huey import signals
from huey.contrib import djhuey

from tests.runners import work

tasks = {
    function.__name__: djhuey.db_task(
        retries=int(function is work.retry), timeout=0.3 if function is work.last else None
    )(function)
    for function in work.TASKS
}


@djhuey.signal(signals.SIGNAL_COMPLETE, signals.SIGNAL_ERROR, signals.SIGNAL_RETRYING)
def after(signal: str, task: Any, exc: Any = None) -> None:
    work.hook(task.name)


@djhuey.post_execute()
def hook(task: Any, *args: Any) -> None:
    work.hook(task.name)


def send(name: str) -> None:
    tasks[name]()
