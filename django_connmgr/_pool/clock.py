"""Time and sleep, as the pool sees them: one clock to read, one bell to wait for."""

import threading
import time
from typing import Protocol


class Bell:
    """Wakes one thread that waits for it; ringing it twice is ringing it once.

    ``ring()`` never blocks and takes no lock, so finalisers and signal handlers may call it, even
    in the middle of another ``ring()`` of their thread; ``threading.Event`` takes a plain lock.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        # Used the other way round: held means silent, and ringing releases it.
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        try:
            self._silence.release()
        except RuntimeError:
            pass  # It rings already.

    def wait(self, timeout: float = -1) -> bool:
        """Wait up to ``timeout`` seconds; false if it did not ring. A ring is used up."""
        return self._silence.acquire(True, min(timeout, threading.TIMEOUT_MAX))


class Clock(Protocol):
    """What the pool knows of time; ``testing.ManualClock`` is the other implementation."""

    def now(self) -> float:
        """Seconds from an arbitrary start that never run backwards."""

    def wait(self, bell: Bell, timeout: float) -> object:
        """Return when ``bell`` rings, when ``timeout`` seconds have passed, or sooner."""


class SystemClock:
    """``time.monotonic`` and a real wait."""

    now = staticmethod(time.monotonic)
    wait = staticmethod(Bell.wait)
