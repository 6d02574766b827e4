"""How long things took, in buckets."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from types import MappingProxyType

from .scope import Scope

#: Upper bounds of the buckets, in seconds, and one more bucket above them: those that
#: OpenTelemetry's conventions advise for databases.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
#: As many units of work are told apart by their names; the others are one.
MOST_UNITS = 100
OTHERS = "other"
#: As many uses are noted before they are counted.
MOST_NOTES = 256


@dataclass(frozen=True)
class Distribution:
    """How many took how long: by bucket, how many and their seconds in all."""

    counts: tuple[int, ...]
    sums: tuple[float, ...]


class Histogram:
    """Guarded by the pool's lock."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sums = [0.0] * (len(BOUNDS) + 1)

    def add(self, seconds: Iterable[float]) -> None:
        """Count all of these. By a sort, because that is done in C."""
        ordered = sorted(seconds)
        ends = [0, *(bisect_right(ordered, bound) for bound in BOUNDS), len(ordered)]
        for index, (start, end) in enumerate(pairwise(ends)):
            if end > start:
                self._counts[index] += end - start
                self._sums[index] += sum(ordered[start:end])

    def count(self) -> int:
        return sum(self._counts)

    def freeze(self, at_once: int = 0) -> Distribution:
        """As of now, and ``at_once`` more that took no time."""
        counts = (self._counts[0] + at_once, *self._counts[1:])
        return Distribution(counts, tuple(self._sums))


@dataclass(frozen=True)
class Timings:
    """How long it took to be served, to connect, and to use what was leased."""

    wait: Distribution
    connect: Distribution
    use: Distribution
    #: By the name of the unit of work: how many uses, and their seconds in all.
    units: Mapping[str, tuple[int, float]]


class Uses:
    """Of leases that ended: counted now and then, because noting one has to cost little."""

    def __init__(self) -> None:
        #: Seconds, and the unit of work.
        self.notes: list[tuple[float, Scope | None]] = []
        self.histogram = Histogram()
        self._by_unit: dict[str, tuple[int, float]] = {}

    def count(self) -> None:
        notes, self.notes = self.notes, []
        self.histogram.add(map(itemgetter(0), notes))
        totals = self._by_unit
        # Sorted and grouped in C, as far as that goes.
        named = sorted([("" if scope is None else scope.name, took) for took, scope in notes])
        for unit, group in groupby(named, itemgetter(0)):
            more = list(map(itemgetter(1), group))
            name = unit if unit in totals or len(totals) < MOST_UNITS else OTHERS
            number, total = totals.get(name, (0, 0.0))
            totals[name] = (number + len(more), total + sum(more))

    def by_unit(self) -> Mapping[str, tuple[int, float]]:
        return MappingProxyType(self._by_unit.copy())
