"""``docs/compatibility.md``, from the outcomes that are remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from .known import KNOWN, Known
from .mode import MODES, STOCK
from .row import Row
from .server import SERVERS

PATH = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"

_INTRODUCTION = """\
# Compatibility

The tests that others wrote for Django's engines, unchanged, run on ours: see [suites.md](suites.md)
for how, and `tox -e django-suite,suites` to do it again. `python -m suites --document` wrote this
page from the outcomes of those runs.

Each test is compared with itself on Django's own engine without a pool. It is **new** if it passes
there, and fails, is skipped or is missing on ours. It is **listed** if it is new and shall be, for
a reason that is given below; an entry that a run refutes fails the run.

## The modes

"""


def text(rows: Sequence[Row]) -> str:
    """The whole page; it has no dates and no durations, so that equal runs make equal pages."""
    return "\n".join([_INTRODUCTION + "\n".join(_modes()), *_results(rows), *_listed()]) + "\n"


def _modes() -> Iterator[str]:
    yield from ('| mode | `OPTIONS["pool"]` |', "| --- | --- |")
    for mode, options in MODES.items():
        yield f"| {mode} | `{dict(options)}` |"


def _results(rows: Sequence[Row]) -> Iterator[str]:
    heads = ["suite", "on", "tests", "skipped on stock", "fail on stock", *MODES]
    yield from ("", "## The results", "", _row(heads), _row(["---"] * len(heads)))
    keyed = groupby(rows, lambda row: (row.suite, row.server))
    versions = []
    for (suite, server), group in keyed:
        by_mode = {row.mode: row for row in group}
        stock = by_mode[STOCK].outcome
        counts = (len(stock.tests), len(stock.skipped), len(stock.failures))
        cells = (_cell(by_mode.get(mode)) for mode in MODES)
        yield _row([suite, server, *(f"{count:,}" for count in counts), *cells])
        versions.append(f"- {suite} on {server}: {', '.join(stock.versions)}")
    yield from ("", "What they ran with:", "", *versions)


def _cell(row: Row | None) -> str:
    if row is None:
        return "not run"
    if not row.outcome.is_whole:
        return "did not end"
    return f"{len(row.new)} new, {len(row.listed)} listed"


def _listed() -> Iterator[str]:
    yield from ("", "## What is listed")
    for entry in KNOWN:
        yield from ("", f"{entry.reason}{_where(entry)}:", "")
        yield from (f"- `{test}`" for test in entry.tests)


def _where(entry: Known) -> str:
    places: Mapping[str, tuple[tuple[str, ...], Sequence[str]]] = {
        "on": (entry.servers, tuple(SERVERS)),
        "with": (entry.modes, tuple(MODES)),
    }
    parts = [
        f"{word} {' and '.join(some)}" for word, (some, every) in places.items() if some != every
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
