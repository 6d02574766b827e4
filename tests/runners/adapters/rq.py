"""``python -m tests.runners.adapters.rq Worker`` or ``SimpleWorker``."""

from __future__ import annotations

import os
import sys
from typing import Any

import django
import rq
from redis import Redis
from rq.job import Callback

from tests.runners import work

queue = rq.Queue(os.environ["NAME"], connection=Redis.from_url(os.environ["BROKER_URL"]))


def hook(job: Any, *args: Any) -> None:
    work.hook(job.func_name)


def send(name: str) -> None:
    queue.enqueue(
        f"tests.runners.work.{name}",
        job_timeout=1 if name == "last" else 30,
        retry=rq.Retry(max=1) if name == "retry" else None,
        on_success=Callback(hook),
        on_failure=Callback(hook),
    )


if __name__ == "__main__":
    django.setup()
    getattr(rq, sys.argv[1])([queue], connection=queue.connection).work(logging_level="WARNING")
