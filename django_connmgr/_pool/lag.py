"""How far behind its primary a replica is, in bytes and in seconds."""

from collections import deque
from typing import NamedTuple

from .position import Position

#: So many looks at the primary are remembered.
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
        #: Where the primary was seen last.
        self.latest: Position | None = None

    def add(self, position: Position, now: float, spacing: float = 0.0) -> None:
        """The primary was seen there.

        A sample is kept if the one before is older than ``spacing`` seconds: a lag can be told
        up to ``MOST_SAMPLES`` of them, however often the primary is looked at.
        """
        latest, self.latest = self.latest, position
        if latest is not None and latest.timeline != position.timeline:
            self._samples.clear()  # Of another history.
        elif latest == position or (self._samples and now - self._samples[-1][0] < spacing):
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
