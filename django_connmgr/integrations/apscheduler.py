"""APScheduler 3: every run of a job is one unit of work.

All executors call ``run_job()``, or ``run_coroutine_job()``. Listeners are called afterwards, in
another place and perhaps on another thread, and so are a unit of their own. So is each look of the
scheduler at what is due, because jobs may be stored in a database.
"""

import sys
from typing import Any

from apscheduler.executors import base
from apscheduler.schedulers.base import BaseScheduler
from django.conf import settings

from ..units import hook, task_unit, unit_of_work

_run_job = base.run_job
_run_coroutine_job = base.run_coroutine_job


def install() -> None:
    """Make the jobs of the schedulers that start in this process units of work. Idempotent.

    Called when Django is set up, if APScheduler is loaded by then. Otherwise call it before you
    start a scheduler.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("apscheduler.executors."):
            for ours in (run_job, run_coroutine_job):
                if hasattr(module, ours.__name__):
                    setattr(module, ours.__name__, ours)
    for method in ("_run_job_success", "_run_job_error"):
        hook(base.BaseExecutor, method, lambda *_: "apscheduler: listeners")
    hook(BaseScheduler, "_process_jobs", lambda _: "apscheduler: scheduler")


def run_job(job: Any, *args: Any) -> Any:
    """What executors call. A process pool imports it from here, before Django is set up there."""
    if not settings.configured:
        return _run_job(job, *args)
    with task_unit(job.name):
        return _run_job(job, *args)


async def run_coroutine_job(job: Any, *args: Any) -> Any:
    async with unit_of_work(job.name):
        return await _run_coroutine_job(job, *args)
