"""Spreads expiry over time, so that connections opened together do not end together."""

import itertools
import random

#: The last part of ``max_lifetime`` over which expiries are spread.
SHARE = 0.1
#: Unlike random numbers, multiples of the golden ratio's fraction never cluster on a circle.
_GOLDEN = 0.6180339887498949


class Jitter:
    """Deals out expiry times: evenly spaced, and different in each process."""

    def __init__(self) -> None:
        self._offset = random.random()  # noqa: S311 - not a secret
        self._next = itertools.count().__next__

    def expiry(self, opened_at: float, max_lifetime: float) -> float:
        """When a connection opened at ``opened_at`` is to be replaced; never, for 0."""
        if max_lifetime <= 0:
            return float("inf")
        share = (self._offset + self._next() * _GOLDEN) % 1.0
        return opened_at + max_lifetime * (1.0 - SHARE * share)
