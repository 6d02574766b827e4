"""Tells who has held a connection for too long: where it was taken, and what happens now."""

from __future__ import annotations

import sys
import traceback
from types import FrameType

from .owner import Owner


def stack_here() -> traceback.StackSummary:
    """The caller's stack, cheap to take: source lines are read when it is printed."""
    return _extract(sys._getframe(2))


def describe_leak(
    pool: str, owner: Owner | None, stack: traceback.StackSummary, held: float
) -> str:
    """What to log about a lease that was taken at ``stack``, ``held`` seconds ago."""
    name = "shared by several" if owner is None else owner.name
    lines = [
        f"Pool {pool!r}: thread {name!r} has held a connection for {held:.1f} s.",
        "It was leased here:",
        _format(stack),
    ]
    frame = sys._current_frames().get(owner.ident) if owner is not None else None
    if frame is not None:
        lines += ["The thread is here now:", _format(_extract(frame))]
    return "\n".join(lines)


def _extract(frame: FrameType | None) -> traceback.StackSummary:
    return traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)


def _format(stack: traceback.StackSummary) -> str:
    return "".join(reversed(stack.format())).rstrip()
