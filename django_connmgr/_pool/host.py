"""One of several servers behind an alias, and what is known of it."""

import enum
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from .lag import Lag
from .position import Position


class HostState(enum.Enum):
    UP = "up"
    #: It left a probe unanswered, but is not known to be gone: read from if no other one is up.
    SUSPECT = "suspect"
    #: It could not be reached.
    DOWN = "down"
    #: It answers again, and is not read from yet.
    PROBATION = "probation"
    #: It takes writes: it was promoted, or is no replica.
    PROMOTED = "promoted"
    #: Taken out by hand.
    DRAINING = "draining"


UP, SUSPECT, DOWN = HostState.UP, HostState.SUSPECT, HostState.DOWN
PROBATION, PROMOTED, DRAINING = HostState.PROBATION, HostState.PROMOTED, HostState.DRAINING


class Pooled(Protocol):
    """What a host asks of the pool of its connections."""

    def count_leases(self) -> int: ...

    def recycle(self) -> None: ...


class Bounds(NamedTuple):
    """The most that a host may be behind."""

    seconds: float
    bytes: float

    def are_kept_by(self, lag: Lag, share: float = 1.0) -> bool:
        return lag.seconds <= self.seconds * share and lag.bytes <= self.bytes * share


class Report(NamedTuple):
    """What a server said of itself."""

    is_standby: bool
    #: How far it has replayed, or written; ``None`` if it cannot tell.
    position: Position | None


@dataclass(eq=False)
class Host:
    """One server. Its fields are guarded by the lock of its ``Hosts``."""

    name: str
    weight: float = 1.0
    #: Its address leads to one of several servers: what one of them said is not true of another.
    is_endpoint: bool = False
    #: Its connections in this process, once there was one.
    pool: Pooled | None = field(default=None, repr=False)
    state: HostState = UP
    failures: int = 0
    #: How far it is known to have replayed. It may be further.
    replayed: Position | None = None
    #: The clock's time when it was asked for that.
    asked_at: float = float("-inf")
    lag: Lag | None = None
    #: Not read from, for its lag.
    is_lagging: bool = False
    #: The clock's time from which on it may be tried again.
    retry_at: float = 0.0
    #: What is noted of it changes nothing: a test says how it is.
    is_fixed: bool = field(default=False, repr=False)
    #: One unit of work is finding out whether it is back.
    is_tried: bool = field(default=False, repr=False)
    #: Good probes in a row: since it was down, and since it lagged.
    good_probes: int = field(default=0, repr=False)
    good_lags: int = field(default=0, repr=False)
    #: The clock's time when probes found it to be back.
    up_since: float = field(default=float("-inf"), repr=False)
    #: How far it is ahead of its turn: see ``Hosts._next_in_turn_locked()``.
    credit: float = field(default=0.0, repr=False)

    @property
    def leased(self) -> int:
        """How many of its connections are in use."""
        return 0 if self.pool is None else self.pool.count_leases()

    @property
    def load(self) -> float:
        return self.leased / self.weight

    @property
    def why_excluded(self) -> str:
        """Why it is not read from; empty if it is."""
        if self.state in {UP, SUSPECT}:
            return "lagging" if self.is_lagging else ""
        return self.state.value

    def has_replayed(self, required: Position | None, since: float = float("-inf")) -> bool:
        """Whether it is known to show what was written up to a position.

        ``since`` is when the connection was opened that is to show it. What was found out before
        does not count: a server that crashed in between may have come back further behind.
        """
        if required is None:
            return True
        if self.replayed is None or self.is_endpoint or self.asked_at < since:
            return False
        return self.replayed.has_reached(required)


class Change(NamedTuple):
    """A host is in another state now."""

    host: Host
    before: HostState
    after: HostState
