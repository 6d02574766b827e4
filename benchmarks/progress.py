"""How far the run is, on standard error."""

from __future__ import annotations

import time
from typing import TextIO

_WIDTH = 30


class Progress:
    """A bar that grows in place on a terminal; elsewhere, one line for each scenario."""

    def __init__(self, stream: TextIO, turns: int) -> None:
        self._stream = stream
        self._turns = turns
        self._done = 0
        self._started = self._scenario_started = time.monotonic()
        self._scenario = ""
        self._width = 0

    def begin(self, scenario: str) -> None:
        self._scenario = scenario
        self._scenario_started = time.monotonic()

    def step(self, contestant: str) -> None:
        """One more turn is over."""
        self._done += 1
        if self._stream.isatty():
            filled = _WIDTH * self._done // max(self._turns, 1)
            bar = "#" * filled + "." * (_WIDTH - filled)
            self._write(f"[{bar}] {self._done} of {self._turns}  {self._scenario}: {contestant}")

    def end(self, remark: str) -> None:
        """The scenario is over."""
        seconds = time.monotonic() - self._scenario_started
        line = f"{self._scenario:<22} {seconds:6.1f} s  {remark}"
        if self._stream.isatty():
            self._write(line)
            self._width = 0
        else:
            self._stream.write(line)
        self._stream.write("\n")
        self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)
