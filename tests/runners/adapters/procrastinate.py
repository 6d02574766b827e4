"""``manage.py procrastinate worker``."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from tests.runners import work

tasks = {
    function.__name__: app.task(
        queue="runners",
        retry=RetryStrategy(max_attempts=1, wait=0) if function is work.retry else False,
    )(function)
    for function in work.TASKS
}


async def middleware(call_next: Any, context: Any, worker: Any) -> Any:
    """The outermost that there is."""
    try:
        return await call_next()
    finally:
        await sync_to_async(work.hook)(context.job.task_name)


app.worker_defaults["worker_middleware"] = [middleware]


def send(name: str) -> None:
    tasks[name].defer()
