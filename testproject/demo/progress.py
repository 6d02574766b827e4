"""The progress of a round, on one line."""

from __future__ import annotations

from django.core.management.base import OutputWrapper

_WIDTH = 30


class Progress:
    """A bar that grows in place on a terminal; elsewhere, one line at the end."""

    def __init__(self, stream: OutputWrapper, label: str, total: int) -> None:
        self._stream = stream
        self._label = label
        self._total = total
        self._shown = ""

    def show(self, done: int) -> None:
        if not self._stream.isatty():
            return
        filled = _WIDTH * done // self._total
        bar = "#" * filled + "." * (_WIDTH - filled)
        self._write(f"{self._label:<15} [{bar}] {done} of {self._total} requests")

    def finish(self, seconds: float) -> None:
        text = f"{self._label:<15} {self._total} requests in {seconds:.1f} s"
        if self._stream.isatty():
            self._write(text)
            self._stream.write("")
        else:
            self._stream.write(text)

    def _write(self, text: str) -> None:
        if text != self._shown:  # Writing the same again would flicker.
            self._stream.write("\r" + text.ljust(len(self._shown)), ending="")
            self._stream.flush()
            self._shown = text
