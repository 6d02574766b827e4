"""One try of a thread to read from one of several servers."""

import time

from .._pool.host import Host


class Attempt:
    """What a checkout or a statement has tried so far. It is one thread's."""

    __slots__ = ("began", "behind", "deadline", "has_waited", "tried")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """The next one begins."""
        #: Servers that could not be had; and those of them that lack a write that must be seen.
        self.tried: set[Host] = set()
        self.behind: set[Host] = set()
        #: One of those was waited for, in vain.
        self.has_waited = False
        self.began = time.monotonic()
        self.deadline: float | None = None

    def time_left(self, timeout: float) -> float:
        """What is left for another try of the ``timeout`` seconds that all have together."""
        if self.deadline is None:
            self.deadline = self.began + timeout
        return max(self.deadline - time.monotonic(), 0.0)
