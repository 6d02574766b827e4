"""What a pool says about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(kw_only=True, eq=False)
class Counters:
    """Running totals since the pool was made. Guarded by the pool's lock."""

    checkouts: int = 0
    waits: int = 0
    timeouts: int = 0
    rejected: int = 0
    reaped: int = 0
    reclaimed: int = 0
    dedicated: int = 0
    session_holds: int = 0
    checks: int = 0
    opened: int = 0
    connect_failures: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    wait_seconds: float = 0.0
    hold_seconds: float = 0.0
    connect_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PoolStats:
    """One moment of one pool: ``size == connecting + idle + leased + maintenance``."""

    name: str
    status: str
    generation: int
    max_size: int | None
    min_size: int
    size: int
    connecting: int
    idle: int
    leased: int
    maintenance: int
    waiting: int
    #: Connections handed out.
    checkouts: int
    #: Checkouts that had to queue, and the seconds that they spent there in all.
    waits: int
    wait_seconds: float
    #: Checkouts that ended in ``PoolTimeout`` and ``TooManyRequests``.
    timeouts: int
    rejected: int
    #: Leases taken back from owners that ended or forgot them.
    reaped: int
    #: Leases taken from live owners that did not use them, for somebody who waited.
    reclaimed: int
    #: Connections outside the pool and its limit: ``dedicated()``.
    dedicated: int
    #: Leases that were held for what they left in the session of the server.
    session_holds: int
    #: Round trips made only to see whether a connection still works.
    checks: int
    #: Physical connections opened, attempts that failed, seconds spent on both.
    opened: int
    connect_failures: int
    connect_seconds: float
    #: Physical connections closed, by reason.
    closed: Mapping[str, int]
    #: Seconds for which connections were held, by leases that have ended.
    hold_seconds: float
