"""The comparison, as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .known import KNOWN
from .mode import STOCK
from .outcome import Outcome, compared

_HEAD = ("suite", "server", "engine", "tests", "skipped", "failed", "new", "known")
_TEXTS = 3


@dataclass(frozen=True)
class Row:
    """One suite on one engine; ``stock`` is what it is compared with."""

    suite: str
    server: str
    mode: str
    outcome: Outcome
    stock: Outcome | None

    @property
    def new(self) -> list[str]:
        """What passes on Django's own engine and does not here, known or not."""
        return [] if self.stock is None else compared(self.outcome, self.stock)

    @property
    def unknown(self) -> list[str]:
        return [test for test in self.new if test not in KNOWN]

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
        return not self.unknown and not any(self.problems)

    def cells(self) -> tuple[str, ...]:
        outcome, new = self.outcome, self.new
        counts = (len(outcome.tests), len(outcome.skipped), len(outcome.failures))
        is_compared = self.stock is not None and self.mode != STOCK
        compared = (len(self.unknown), len(new) - len(self.unknown)) if is_compared else ("", "")
        return tuple(map(str, (self.suite, self.server, self.mode, *counts, *compared)))

    def remarks(self) -> Iterator[str]:
        yield from self.problems
        if self.mode == STOCK:
            yield from (f"fails: {test}" for test in sorted(self.outcome.failures))
        yield from (f"NEW: {test}" for test in self.unknown)
        # A test may make databases of its own; the suite's are the last to go.
        for alias, (code, numbers) in {a: (c, n) for a, c, n in self.outcome.pools}.items():
            yield f"pool {alias!r}: {numbers} ({code})"


def lines(rows: list[Row]) -> Iterator[str]:
    """The table, then what is to be said of each run."""
    table = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    for cells in table:
        texts = zip(cells, widths, strict=True)
        yield "  ".join(
            text.ljust(width) if column < _TEXTS else text.rjust(width)
            for column, (text, width) in enumerate(texts)
        ).rstrip()
    for row in rows:
        yield from (f"{row.suite}, {row.server}, {row.mode}: {remark}" for remark in row.remarks())
