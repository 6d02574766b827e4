"""Dramatiq: every message that a worker processes is one unit of work.

The thread of a worker processes a message together with its middleware, and acknowledges it. The
thread that fetches messages runs middleware as well, for those that are processed later.
An actor that is called, and not sent, is a part of its caller's unit.
"""

from typing import Any

from dramatiq import worker

from ..units import hook


def install() -> None:
    """Make the messages of the workers that start in this process units of work. Idempotent."""
    # By the names that versions 1 and 2 have in common.
    hook(worker._WorkerThread, "process_message", _name_of)
    hook(worker._ConsumerThread, "handle_message", _name_before)
    hook(worker._ConsumerThread, "handle_delayed_messages", _name_of_delayed)


def _name_of(thread: Any, message: Any) -> str:  # noqa: ARG001 - a method
    return str(message.actor_name)


def _name_before(thread: Any, message: Any) -> str:
    return f"{_name_of(thread, message)}: handle_message"


def _name_of_delayed(thread: Any) -> str | None:
    return None if thread.delay_queue.empty() else "dramatiq: handle_delayed_messages"
