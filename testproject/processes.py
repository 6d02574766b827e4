"""A server's processes, stopped and continued together. Linux only, because it reads /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from .waiting import until


def children_of(pid: int) -> list[int]:
    """Process ids of the processes that this one has started and that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        state, parent = _state_and_parent(int(entry.name))
        if parent == pid and state not in "ZX":
            found.append(int(entry.name))
    return found


def freeze(pids: list[int]) -> None:
    """SIGSTOP them, and return when none of them runs."""
    _send(pids, signal.SIGSTOP)
    until(
        lambda: all(_state_and_parent(pid)[0] in "TtZX" for pid in pids),
        lambda: f"processes {pids} are stopped",
    )


def thaw(pids: list[int]) -> None:
    """SIGCONT them."""
    _send(pids, signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    return _state_and_parent(pid)[0] in "Tt"


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _state_and_parent(pid: int) -> tuple[str, int]:
    """The letter of /proc, and the parent's process id. A process that is gone is ``X``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    state, parent = text.rpartition(")")[2].split()[:2]  # A name may contain anything.
    return state, int(parent)
