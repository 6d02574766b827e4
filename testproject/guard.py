"""Ends servers and removes their files when the process that started them ends, however it ends.

A process of its own, because a process that is killed with SIGKILL cleans up nothing. PostgreSQL
starts in a session of its own, so a signal to the parent's group does not reach it either.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Seconds after which a look is taken at the parent: a child that it forked may keep the pipe.
_LOOK = 1.0
#: Seconds in which a ``pg_ctl`` whose caller is gone has started its server.
_GRACE = 0.5
#: After five seconds PostgreSQL itself kills the children that did not obey.
_PATIENCE = 8.0


class Guard:
    """Watches over a directory, and over the servers in its folders ``*/data``."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(directory), str(os.getpid())],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent.
        )

    def dismiss(self) -> None:
        """Have the servers ended and the directory removed now, and wait for it."""
        self._process.communicate(b"done")
        if self._process.returncode:
            raise RuntimeError(f"The guard of the servers failed: {self._process.returncode}")


def _watch(directory: Path, parent: int) -> None:
    """Wait until the parent says something, closes the pipe, or is gone."""
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], _LOOK)[0]:
            if sys.stdin.buffer.read(1):
                _end_servers(directory)
                return
            break
    _end_servers(directory)
    time.sleep(_GRACE)
    _end_servers(directory)


def _end_servers(directory: Path) -> None:
    """An immediate shutdown, which also removes what the servers have in shared memory."""
    files = list(directory.glob("*/data/postmaster.pid"))
    for file in files:
        # One that is stopped takes no other signal.
        _send(file, signal.SIGCONT)
        _send(file, signal.SIGQUIT)
    deadline = time.monotonic() + _PATIENCE
    while any(_send(file, 0) for file in files):
        if time.monotonic() > deadline:
            for file in files:
                _send(file, signal.SIGKILL)
            return
        time.sleep(0.01)


def _send(file: Path, number: int) -> bool:
    """Signal the server of a ``postmaster.pid``. False if it does not run."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
        os.kill(int(file.read_text().split()[0]), number)
        return True
    return False


if __name__ == "__main__":
    guarded = Path(sys.argv[1])
    _watch(guarded, int(sys.argv[2]))
    shutil.rmtree(guarded, ignore_errors=True)
