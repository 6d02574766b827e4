"""The comparison, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .row import Row

_HEAD = ("suite", "server", "engine", "tests", "skipped", "failed", "new", "listed")
#: Columns that are not numbers.
_TEXTS = 3


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table, then what is to be said of each run."""
    table = [_HEAD, *map(_cells, rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    for cells in table:
        texts = zip(cells, widths, strict=True)
        yield "  ".join(
            text.ljust(width) if column < _TEXTS else text.rjust(width)
            for column, (text, width) in enumerate(texts)
        ).rstrip()
    for row in rows:
        yield from (f"{row.suite}, {row.server}, {row.mode}: {remark}" for remark in row.remarks())


def _cells(row: Row) -> tuple[str, ...]:
    outcome = row.outcome
    counts = (len(outcome.tests), len(outcome.skipped), len(outcome.failures))
    compared = (len(row.new), len(row.listed)) if row.is_compared else ("", "")
    return tuple(map(str, (row.suite, row.server, row.mode, *counts, *compared)))
