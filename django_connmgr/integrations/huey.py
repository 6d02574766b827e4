"""Huey: every task that a consumer executes is one unit of work, with its hooks and signals.

In immediate mode a task is executed by the code that enqueues it, and within its unit.
"""

from typing import Any

from huey.api import Huey

from ..units import hook


def install() -> None:
    """Make the tasks of the consumers that start in this process units of work. Idempotent."""
    hook(Huey, "execute", _name_of)


def _name_of(huey: Any, task: Any, timestamp: Any = None) -> str | None:  # noqa: ARG001 - a method
    return None if huey.immediate else str(task.name)
