"""Open one more, or wait? What the pool knows about opening connections."""

#: The part of what connecting takes that a waiter waits first, for a connection to come back.
PATIENCE = 0.2
#: The most that it waits if nothing comes back, in seconds.
MOST_PATIENCE = 0.025
#: The weight of the latest return in the average time between returns.
WEIGHT = 0.25
#: A waiter that has not this many times the patience left connects where it may.
LEISURE = 10
#: For how many seconds a pool does not grow after the server refused it one more connection.
#: Long enough not to pester a full server, short against any sensible ``timeout``.
REFUSAL_PAUSE = 0.2


class Growth:
    """How fast connections come back, next to how long opening another would take.

    A spike of short queries is served by few connections that way, each as soon as one
    comes back, which is sooner than another would be open; and connections that are held
    for long cost the waiters a fraction of what connecting takes. Guarded by the pool's lock.
    """

    def __init__(self) -> None:
        #: What opening a connection took the last time, in seconds.
        self.connect_time = 0.0
        self._no_growth_until = self._last_return = float("-inf")
        #: Average seconds from one return to the next, while there are waiters.
        self._between_returns = 0.0

    def refuse(self, now: float) -> None:
        """The server would not take one more connection."""
        self._no_growth_until = now + REFUSAL_PAUSE

    def is_refused(self, now: float) -> bool:
        return now < self._no_growth_until

    def begin(self, now: float) -> None:
        """The queue was empty until now."""
        self._last_return = now
        self._between_returns = 0.0

    def hurry(self, now: float) -> None:
        """Callers are about to be refused: no waiter waits for others that might connect."""
        self._last_return = now - MOST_PATIENCE

    def note_return(self, now: float) -> None:
        """A connection came back, and there are waiters."""
        since = max(now - self._last_return, 0.0)
        self._between_returns += (since - self._between_returns) * WEIGHT
        self._last_return += since

    def should_wait(self, deadline: float, waiting: int, now: float) -> bool:
        """Whether the first of ``waiting`` waiters, which could connect, does better to wait."""
        return (
            deadline - now > LEISURE * self._patience()
            and self._stall(now) > 0
            and waiting * self._between_returns <= self.connect_time
        )

    def pause(self, now: float) -> float:
        """Seconds until a waiter that could connect stops waiting for others; 0 if it may now."""
        return max(self._no_growth_until - now, self._stall(now))

    def _stall(self, now: float) -> float:
        """Seconds until the queue counts as standing still; 0 if it does."""
        return max(self._last_return + self._patience() - now, 0.0)

    def _patience(self) -> float:
        return min(self.connect_time * PATIENCE, MOST_PATIENCE)
