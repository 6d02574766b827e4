"""What a pool says about itself: its numbers, and who has what."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


class Counters:
    """Running totals since the pool was made, which ``PoolStats`` explains. Guarded by its lock."""

    def __init__(self) -> None:
        self.checkouts = self.waits = self.timeouts = self.rejected = self.reaped = 0
        self.reclaimed = self.dedicated = self.session_holds = self.checks = 0
        self.opened = self.connect_failures = 0
        self.hold_seconds = self.wait_seconds = self.connect_seconds = 0.0
        self.closed: Counter[str] = Counter()


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
    #: Of the idle ones: reserved for the thread that used it last, until its unit of work ends.
    warm: int
    #: In use, or kept for their owner by session state or ``lease_connection()``.
    leased: int
    maintenance: int
    waiting: int
    #: Connections handed out; a thread that finds its warm one again is not counted.
    checkouts: int
    #: Checkouts that had to queue, and the seconds that they spent there in all.
    waits: int
    wait_seconds: float
    #: Checkouts that ended in ``PoolTimeout`` and ``TooManyRequests``.
    timeouts: int
    rejected: int
    #: Leases taken back from owners that ended or forgot them.
    reaped: int
    #: Warm connections that another owner took, because the pool was full.
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


@dataclass(frozen=True, kw_only=True)
class WaiterRecord:
    """Who waits for a connection, at one moment. Times are in seconds."""

    owner: str
    #: The unit of work that it is to belong to, as in ``LeaseRecord``.
    unit: str
    waited: float
    #: Until it times out.
    remaining: float
    #: Where it is, if that was asked for.
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """Who has one connection, at one moment. Times are in seconds."""

    #: The name of the thread or greenlet; ``"shared by several"`` if it is.
    owner: str
    is_alive: bool
    #: ``"connecting"``, ``"leased"``, or ``"kept"``: leased, but not being used right now. In
    #: errors of a pool with ``reclaim=False`` also ``"warm"``: reserved, and not leased.
    state: str
    #: The unit of work that it belongs to: a request's method and path, a task's name, ``""``.
    unit: str
    #: Why it is not over yet: ``"cursor"``, ``"transaction"``, ``"block"``, ...
    holds: tuple[str, ...]
    held_for: float
    #: Since it was last used; 0 while it is being used.
    idle_for: float
    #: The server's process, where there is one.
    backend_pid: int | None
    #: What names the slot in this process, and this lease of it: the pool clock's seconds.
    slot: int = 0
    since: float = 0.0
    #: Where it was leased, if the pool has a ``leak_threshold``.
    leased_at: str = ""
    #: Where the owner is now, if that was asked for.
    stack: str = ""
