"""How far behind its primary a replica is, in bytes and in seconds."""

from collections import deque
from typing import NamedTuple

from .position import Position

#: As many looks at the primary are remembered: a lag can be told up to as many intervals.
MOST_SAMPLES = 600


class Lag(NamedTuple):
    seconds: float
    bytes: int


class Samples:
    """Where the primary was seen, and when.

    A replica's lag in seconds is the age of the first sample that it has not replayed. So it stays
    0 on an idle primary, where the age of the last transaction would grow; and it grows for a
    replica that is cut off, which believes to have replayed all that there is. It is as exact as
    the samples are close together. Not guarded: one thread has it.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Position]] = deque(maxlen=MOST_SAMPLES)

    @property
    def latest(self) -> Position | None:
        """Where the primary was seen last."""
        return self._samples[-1][1] if self._samples else None

    def add(self, position: Position, now: float) -> None:
        """The primary was seen there."""
        latest = self.latest
        if latest is not None and latest.timeline != position.timeline:
            self._samples.clear()  # Of another history.
        elif latest == position:
            return
        self._samples.append((now, position))

    def lag_of(self, replayed: Position, now: float) -> Lag | None:
        """How far behind a replica is that has replayed so far; ``None`` before the first sample.

        By the numbers alone: one that still follows the log of another timeline is as far behind
        as it seems, and falls back further.
        """
        if self.latest is None:
            return None
        missed = next((when for when, seen in self._samples if seen.lsn > replayed.lsn), now)
        return Lag(now - missed, max(self.latest.lsn - replayed.lsn, 0))
