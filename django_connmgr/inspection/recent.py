"""What happened of late: the last events, and the last minutes in numbers."""

import time
from collections import deque
from dataclasses import asdict
from typing import Any

from .._pool.events import Event
from ..registry import registry

MOST_EVENTS = 50
#: Samples of each pool, one in so many seconds, for so long after a client has asked.
MOST_SAMPLES = 60
SAMPLE_INTERVAL = 5.0
INTEREST = 600.0


class Recent:
    """Remembers a bounded number of both. Costs nothing until a client asks, but for events."""

    def __init__(self) -> None:
        #: ``deque.append`` is atomic: any thread appends.
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        # The next belong to the background thread.
        self._samples: dict[str, deque[tuple[float, int, int]]] = {}
        self._asked_at = self._sampled_at = float("-inf")

    def on_event(self, event: Event) -> None:
        self._events.append(event)

    def as_json(self) -> dict[str, Any]:
        """Both, for a client; sampling goes on for some minutes from here."""
        self._asked_at = time.monotonic()
        self.sample()
        history = {name: [list(one) for one in samples] for name, samples in self._samples.items()}
        return {"events": [asdict(event) for event in self._events.copy()], "history": history}

    def sample(self) -> float:
        """Take a sample if it is time; returns seconds until the next, infinity for none."""
        now = time.monotonic()
        if now - self._asked_at > INTEREST:
            return float("inf")
        pause = self._sampled_at + SAMPLE_INTERVAL - now
        if pause > 0:
            return pause
        self._sampled_at = now
        pools = {pool.name: pool for pool in registry.all()}
        self._samples = {name: self._samples.get(name, _no_samples()) for name in pools}
        for name, pool in pools.items():
            stats = pool.stats()
            self._samples[name].append((round(time.time(), 1), stats.leased, stats.waiting))
        return SAMPLE_INTERVAL


def _no_samples() -> deque[tuple[float, int, int]]:
    return deque(maxlen=MOST_SAMPLES)


recent = Recent()
