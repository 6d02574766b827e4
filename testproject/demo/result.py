"""What one round amounts to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..shop.failures import Failure
from .client import Client
from .faults import FaultInjector
from .traffic import Outcome


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of one round."""

    requests: int
    #: Requests that failed because their connection was killed under them, which no pool prevents.
    interrupted: int
    #: All other failed requests, by what went wrong.
    errors: Mapping[str, int]
    #: Threads of the serving process that ended without giving their connection back.
    abandoned: int
    #: Connections that were killed.
    killed: int
    #: Most connections of the serving process at once, as the database server counted them.
    peak: int
    #: Latencies of the requests that succeeded, in seconds, shortest first.
    latencies: Sequence[float]
    #: From the first request to the last answer, in seconds.
    seconds: float
    #: The pool's own numbers at the end; empty without a pool.
    pool: Mapping[str, Any]

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @property
    def throughput(self) -> float:
        """Requests that succeeded, per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that ``share`` of the successful requests did not exceed."""
        if not self.latencies:
            return math.nan
        return self.latencies[math.ceil(share * len(self.latencies)) - 1]


def summarize(
    outcomes: Sequence[Outcome], injector: FaultInjector, *, peak: int, pool: Mapping[str, Any]
) -> Result:
    """The figures of a round that is over."""
    interrupted = 0
    errors: Counter[str] = Counter()
    for outcome in outcomes:
        # A killed connection excuses only the requests that ran when connections were killed.
        if outcome.failure == Failure.KILLED and injector.was_active(
            outcome.started, outcome.ended
        ):
            interrupted += 1
        elif outcome.failure:
            errors[outcome.failure] += 1
    return Result(
        requests=len(outcomes),
        interrupted=interrupted,
        errors=errors,
        abandoned=sum(o.action is Client.ask_receipt and not o.failure for o in outcomes),
        killed=injector.killed,
        peak=peak,
        latencies=sorted(outcome.seconds for outcome in outcomes if not outcome.failure),
        seconds=max(o.ended for o in outcomes) - min(o.started for o in outcomes),
        pool=pool,
    )
