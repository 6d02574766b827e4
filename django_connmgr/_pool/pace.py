"""Whether a line in front of a pool moves fast enough to wait instead of connecting."""

from __future__ import annotations

#: The part of what connecting takes that a caller waits first, for a connection to come back.
PATIENCE = 0.2
#: The most that it waits if nothing comes back, in seconds.
MOST_PATIENCE = 0.025
#: The weight of the latest return in the average distance of returns.
WEIGHT = 0.25


class Pace:
    """How fast connections come back, next to how long opening another would take.

    A spike of short queries is served by few connections that way, each as soon as one
    comes back, which is sooner than another would be open; and connections that are held
    for long cost those who wait for them a fraction of what connecting takes. Guarded by
    the pool's lock.
    """

    def __init__(self) -> None:
        #: What opening a connection took the last time, in seconds.
        self.connect_time = 0.0
        self._last_return = float("-inf")
        #: Average seconds from one return to the next, while somebody waits.
        self._distance = 0.0

    @property
    def patience(self) -> float:
        """Seconds for which a line that does not move is waited in."""
        return min(self.connect_time * PATIENCE, MOST_PATIENCE)

    def begin(self, now: float) -> None:
        """The line was empty until now."""
        self._last_return = now
        self._distance = 0.0

    def note_return(self, now: float) -> None:
        """A connection came back, and somebody waits."""
        distance = now - self._last_return
        distance = max(distance, 0.0)  # What was parked came back earlier.
        self._distance += (distance - self._distance) * WEIGHT
        self._last_return += distance

    def stall(self, now: float) -> float:
        """Seconds until the line counts as standing still; 0 if it does."""
        return max(self._last_return + self.patience - now, 0.0)

    def is_worth_waiting(self, now: float, waiting: int) -> bool:
        """Whether one of ``waiting`` callers does better to wait than to connect."""
        return self.stall(now) > 0 and waiting * self._distance <= self.connect_time
