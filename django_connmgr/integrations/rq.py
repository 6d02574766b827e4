"""RQ: every job that a worker performs is one unit of work, with its callbacks.

A forking worker performs it in a child, which exits at once: so the unit is put around what the
child calls. When a child was stopped or killed, the worker calls handlers itself, and that is a
unit too. ``Queue(is_async=False)`` performs a job within its caller's unit.
"""

from typing import Any

from rq.worker import Worker

from ..units import hook


def install() -> None:
    """Make the jobs of the workers that start in this process units of work. Idempotent."""
    # All workers share it, in a class that is the one or the other in different versions.
    owner = next((cls for cls in Worker.__mro__ if "perform_job" in vars(cls)), Worker)
    hook(owner, "perform_job", _name_of)
    hook(Worker, "monitor_work_horse", _name_after)


def _name_of(worker: Any, job: Any, *args: Any, **kwargs: Any) -> str:  # noqa: ARG001 - a method
    try:
        return str(job.func_name)
    except Exception:  # It cannot be deserialized, which the worker is about to find out.
        return str(job.id)


def _name_after(worker: Any, job: Any, *args: Any, **kwargs: Any) -> str:  # noqa: ARG001
    return f"{_name_of(worker, job)}: monitor_work_horse"
