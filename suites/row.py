"""One run, judged: what it was compared with, and what came of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .inside.report import PASSED
from .known import known
from .mode import STOCK
from .outcome import Outcome, compared


@dataclass(frozen=True)
class Row:
    """One suite on one server in one mode; ``stock`` is what it is compared with."""

    suite: str
    server: str
    mode: str
    outcome: Outcome
    stock: Outcome | None

    @property
    def is_compared(self) -> bool:
        return self.mode != STOCK and self.stock is not None

    @property
    def differing(self) -> frozenset[str]:
        """What passes on Django's own engine and does not here, listed or not."""
        if self.stock is None or self.mode == STOCK:
            return frozenset()
        return frozenset(compared(self.outcome, self.stock))

    @property
    def new(self) -> list[str]:
        return sorted(self.differing - known(self.server, self.mode))

    @property
    def listed(self) -> list[str]:
        return sorted(self.differing & known(self.server, self.mode))

    @property
    def stale(self) -> list[str]:
        """Entries of the list that the run refutes: the tests do here as they do on stock."""
        if self.stock is None or not self.is_compared:
            return []
        there = {test for test, outcome in self.stock.tests.items() if outcome == PASSED}
        unseen = known(self.server, self.mode) - self.differing
        return sorted(entry for entry in unseen if entry.partition(" (")[0] in there)

    @property
    def problems(self) -> Iterator[str]:
        """Why the numbers prove nothing, if they do not."""
        outcome = self.outcome
        if not outcome.is_whole:
            yield f"did not come to its end, but ended with {outcome.status}: see its output"
            return
        if outcome.status != 0 and not outcome.failures:
            yield f"ended with {outcome.status}, and no failure was reported"
        if self.mode == STOCK:
            return
        if self.stock is None:
            yield "was compared with nothing: the same was not run with --mode stock"
        if not outcome.pools:
            yield "says of no pool that it was used"
        for alias, _, numbers in outcome.pools:
            if numbers is None:
                yield f"did not pool the connections of {alias!r}"

    @property
    def is_fine(self) -> bool:
        return not self.new and not self.stale and not any(self.problems)

    @property
    def alone(self) -> int:
        """How many tests failed among all the others, and passed alone."""
        tests = self.outcome.tests
        return sum(tests[test] == PASSED for test in self.outcome.alone)

    def remarks(self) -> Iterator[str]:
        yield from self.problems
        if self.mode == STOCK:
            yield from (f"fails: {test}" for test in sorted(self.outcome.failures))
        yield from (f"NEW: {test}" for test in self.new)
        yield from (f"STALE, delete it from suites/known.py: {test}" for test in self.stale)
        # A test may make databases of its own; the suite's are the last to go.
        for alias, (code, numbers) in {a: (c, n) for a, c, n in self.outcome.pools}.items():
            yield f"pool {alias!r}: {numbers} ({code})"
