"""``python -m tests.runners.adapters.apscheduler NAME ...``: it sends the tasks itself.

It loads APScheduler after Django, as a management command does.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import django

from tests.runners import work


def main() -> None:
    django.setup()

    from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.schedulers.background import BackgroundScheduler

    from django_connmgr.integrations import apscheduler

    apscheduler.install()

    def hook(event: Any) -> None:
        work.hook(event.job_id)

    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(2)})
    scheduler.add_listener(hook, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start()
    for number, name in enumerate(sys.argv[1:]):
        scheduler.add_job(getattr(work, name), id=f"{number}.{name}", misfire_grace_time=60)
    signal.sigwait({signal.SIGTERM})
    scheduler.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
