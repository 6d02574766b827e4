"""Waiting for what only a server knows, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds that a wait may take, unless its caller says otherwise.
TIMEOUT = 10.0
_PAUSE = 0.005


class TookTooLong(Exception):
    """What was waited for did not come to pass. The message says what was seen last."""


def until(
    condition: Callable[[], bool], describe: Callable[[], str], timeout: float = TIMEOUT
) -> None:
    """Ask again and again until the condition holds. ``describe`` says what is the matter."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TookTooLong(f"Not within {timeout:g} s: {describe()}")
        time.sleep(_PAUSE)
