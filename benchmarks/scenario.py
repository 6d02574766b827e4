"""What is measured, of which contestants, and what must be reached."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from .contestants import Contestant
from .placement import Placement
from .server import Address

#: Named values of one contestant in one round, and curves to draw.
Measures = dict[str, float]
Curve = list[tuple[float, float]]
Series = dict[str, Curve]


class Better(enum.StrEnum):
    LESS = "less"
    MORE = "more"


@dataclass(frozen=True)
class Metric:
    """One number of a contestant, and how it is read."""

    name: str
    unit: str = ""
    better: Better = Better.LESS


class Compare(enum.StrEnum):
    """What a target's bound is held against, in each round."""

    #: Ours divided by the peer's.
    RATIO = "ratio"
    #: Ours less the peer's.
    DIFFERENCE = "difference"
    #: Ours alone.
    VALUE = "value"


@dataclass(frozen=True)
class Target:
    """What one of ours must reach: at least or at most ``bound``. See ``verdict.judge()``."""

    metric: str
    bound: float
    better: Better
    peer: str | None = None
    compare: Compare = Compare.RATIO
    ours: str = "ours"
    #: Where it is judged; ``None``: in the scenario's first placement.
    placement: Placement | None = None


def at_most(
    bound: float,
    metric: str,
    *,
    of: str | None = None,
    ours: str = "ours",
    placement: Placement | None = None,
) -> Target:
    """At most so many times the number of the peer ``of``, or so much."""
    compare = Compare.RATIO if of else Compare.VALUE
    return Target(metric, bound, Better.LESS, of, compare, ours, placement)


def at_least(
    bound: float,
    metric: str,
    *,
    of: str | None = None,
    ours: str = "ours",
    placement: Placement | None = None,
) -> Target:
    """At least so many times the number of the peer ``of``, or so much."""
    compare = Compare.RATIO if of else Compare.VALUE
    return Target(metric, bound, Better.MORE, of, compare, ours, placement)


def at_most_above(bound: float, metric: str, *, peer: str, ours: str = "ours") -> Target:
    """At most so much more than the peer's."""
    return Target(metric, bound, Better.LESS, peer, Compare.DIFFERENCE, ours)


@dataclass(frozen=True)
class Stage:
    """One contestant's turn: the contestant, and where the server is."""

    contestant: Contestant
    server: Address
    is_quick: bool = False

    def scaled(self, full: float) -> float:
        """A length of time or a number of calls; a quarter of it with ``--quick``."""
        return full / 4 if self.is_quick else full


@dataclass(frozen=True)
class Outcome:
    """What a turn came to."""

    measures: Measures
    series: Series = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The same work for several contestants. ``run`` does it, in a process of its own."""

    name: str
    #: One sentence: what is done, and with how much of everything.
    does: str
    contestants: tuple[str, ...]
    #: The first one is what contestants are compared by.
    metrics: tuple[Metric, ...]
    targets: tuple[Target, ...] = ()
    run: Callable[[Stage], Outcome]
    #: Where it runs, unless the command line says so: every one of these in turn.
    placements: tuple[Placement, ...] = (Placement.FREE,)
    rounds: int = 5
    #: Seconds after which a turn has failed.
    time_limit: float = 60.0
    needs_server: bool = True
    #: Whether the process is patched by gevent before anything else.
    is_green: bool = False
    #: Programs that it needs beside the contestants, by Debian's name of the package.
    programs: tuple[str, ...] = ()

    def targets_in(self, placement: Placement) -> list[Target]:
        """The targets that are judged there."""
        return [t for t in self.targets if (t.placement or self.placements[0]) is placement]

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)
