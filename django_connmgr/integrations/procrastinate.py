"""Procrastinate: every job that a worker processes is one unit of work, with its middleware.

A worker runs on an event loop, and sync tasks on threads, all with the context of the job. Its own
queries go through a pool of its own and its own connector, which are not ours.
"""

from typing import Any

from procrastinate.worker import Worker

from ..units import hook


def install() -> None:
    """Make the jobs of the workers that start in this process units of work. Idempotent."""
    hook(Worker, "_process_job", _name_of)


def _name_of(worker: Any, context: Any) -> str:  # noqa: ARG001 - a method
    return str(context.job.task_name)
