"""What a forked child does before anything else, also where Python is not told of the fork."""

import os
from collections.abc import Callable

from ._pool import background

_steps: list[Callable[[], None]] = []
#: The process that the steps were last done for.
_process = os.getpid()


def in_child(step: Callable[[], None]) -> None:
    """Have it done in every child that is forked from now on, in the order of these calls."""
    _steps.append(step)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=step)


def expect_silent_forks() -> None:
    """This process will fork without a word to Python: it starts no thread of ours any more.

    At the fork the thread may hold the GIL or another lock. It does not exist in the child, so it
    never gives that back there, and the child stands still.
    """
    background.is_held = True


def after_silent_fork() -> None:
    """Do what Python did not; nothing if it did, or if this is no child."""
    background.is_held = False
    if os.getpid() != _process:
        for step in _steps:
            step()


def _note_process() -> None:
    global _process  # noqa: PLW0603
    _process = os.getpid()
    background.is_held = False


in_child(_note_process)
