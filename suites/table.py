"""The comparison, as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .known import KNOWN
from .outcome import Outcome

_HEAD = ("suite", "engine", "tests", "skipped", "failed", "new", "known")


@dataclass(frozen=True)
class Row:
    """One suite on one engine; ``stock`` is what it is compared with."""

    suite: str
    engine: str
    outcome: Outcome
    stock: Outcome | None = None

    @property
    def new(self) -> list[str]:
        """What fails or is skipped here and is neither on Django's own engine, known or not."""
        if self.stock is None:
            return []
        failed = self.outcome.failures - self.stock.failures
        skipped = self.outcome.skipped - self.stock.skipped
        return sorted(failed | {f"{test} (skipped)" for test in skipped})

    @property
    def unknown(self) -> list[str]:
        return [test for test in self.new if test not in KNOWN]

    @property
    def problems(self) -> Iterator[str]:
        """Why the numbers prove nothing, if they do not."""
        outcome, stock = self.outcome, self.stock
        if outcome.tests is None:
            yield f"did not come to its end, but ended with {outcome.end.status}: see its output"
            return
        if outcome.end.status != 0 and not outcome.failures:
            yield f"ended with {outcome.end.status}, and no failure was found in its output"
        if self.engine == "stock":
            return
        if stock is None:
            yield "was compared with nothing: the same was not run with --engine stock"
        elif outcome.tests != stock.tests:
            yield "ran another number of tests than stock"
        if not outcome.end.proofs:
            yield "says of no pool that it was used"
        for alias, _, numbers in outcome.end.proofs:
            if numbers is None:
                yield f"did not pool the connections of {alias!r}"

    @property
    def is_fine(self) -> bool:
        return not self.unknown and not any(self.problems)

    def cells(self) -> tuple[str, ...]:
        outcome, new = self.outcome, self.new
        counts = (outcome.tests, len(outcome.skipped), len(outcome.failures))
        is_compared = self.stock is not None
        compared = (len(self.unknown), len(new) - len(self.unknown)) if is_compared else ("", "")
        cells = (self.suite, self.engine, *counts, *compared)
        return tuple("?" if cell is None else str(cell) for cell in cells)

    def remarks(self) -> Iterator[str]:
        yield from self.problems
        if self.engine == "stock":
            yield from (f"fails: {test}" for test in sorted(self.outcome.failures))
        yield from (f"NEW: {test}" for test in self.unknown)
        # A test may make databases of its own; the suite's are the last to go.
        for alias, (code, numbers) in {a: (c, n) for a, c, n in self.outcome.end.proofs}.items():
            yield f"pool {alias!r}: {numbers} ({code})"


def lines(rows: list[Row]) -> Iterator[str]:
    """The table, then what is to be said of each run."""
    table = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    for cells in table:
        texts = zip(cells, widths, strict=True)
        yield "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(texts)
        ).rstrip()
    for row in rows:
        yield from (f"{row.suite}, {row.engine}: {remark}" for remark in row.remarks())
