"""Show the pools of every process, again and again: s status, l leases, w waiters, q quit."""

import os
import select
import shutil
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...inspection.client import Reply
from . import leases, processes, status, waiters

_VIEWS: dict[str, tuple[str, Callable[[list[Reply]], str]]] = {
    "s": ("status", status.describe),
    "l": ("leases", leases.describe),
    "w": ("waiters", waiters.describe),
}
#: What clears a terminal, and puts the cursor in its upper left corner.
_CLEAR = "\x1b[H\x1b[2J"
_QUIT = {"q", "\x03", "\x1b"}


def add_arguments(parser: ArgumentParser) -> None:
    processes.add_arguments(parser, can_be_json=False)
    parser.add_argument("--interval", type=float, default=1.0, help="Seconds between looks; 1.")
    parser.add_argument("--count", type=int, help="End after so many looks.")


def run(options: dict[str, Any]) -> str:
    view, looks, is_paused = "s", 0, False
    with _keys() as key_within, suppress(KeyboardInterrupt):
        while options["count"] is None or looks < options["count"]:
            if not is_paused:
                looks += 1
                _draw(view, options)
            key = key_within(max(options["interval"], 0.1))
            if key in _QUIT:
                break
            is_paused = (not is_paused) if key == " " else is_paused
            if key in _VIEWS:
                view, is_paused = key, False
    return ""


def _draw(view: str, options: dict[str, Any]) -> None:
    command, describe = _VIEWS[view]
    replies = processes.ask_them(command, options, stacks=False)
    text = describe(replies) if replies else processes.describe_none()
    head = f"{time.strftime('%H:%M:%S')}  {command}    s status  l leases  w waiters  space  q"
    size = shutil.get_terminal_size()
    lines = [head, "", *text.splitlines()]
    if sys.stdout.isatty():
        lines = lines[: size.lines - 1]
    sys.stdout.write((_CLEAR if sys.stdout.isatty() else "") + "\n".join(lines) + "\n")
    sys.stdout.flush()


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yields what waits for a key so many seconds; ``""`` if none came, or there is no terminal."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    try:
        import termios
        import tty
    except ImportError:  # On Windows.
        yield _no_key
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda timeout: _key_of(fd, timeout)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _key_of(fd: int, timeout: float) -> str:
    ready, _, _ = select.select([fd], [], [], timeout)
    return os.read(fd, 1).decode(errors="replace") if ready else ""


def _no_key(timeout: float) -> str:
    time.sleep(timeout)
    return ""
