"""``docs/compatibility.md``, from the outcomes that are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .known import KNOWN, Known
from .mode import MODES, STOCK
from .row import Row
from .server import SERVERS

#: The names of a suite and a server.
Place = tuple[str, str]

PATH = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"

_INTRODUCTION = """\
# Compatibility

The tests that others wrote for Django's engines, unchanged, run on ours: see [suites.md](suites.md)
for how, and `tox -e django-suite,suites` to do it again. `python -m suites --document` wrote this
page from the outcomes of those runs.

Each test is compared with itself on Django's own engine without a pool. It is **new** if it passes
there, and fails, is skipped or is missing on ours. It is **listed** if it is new and shall be, for
a reason that is given below; an entry that a run refutes fails the run. What **passed alone**
failed at first, and passed when it was run once more without the others.

## The modes

"""


def text(rows: Iterable[Row], places: Iterable[Place]) -> str:
    """The whole page; it has no dates and no durations, so that equal runs make equal pages."""
    found: dict[Place, dict[str, Row]] = {place: {} for place in places}
    for row in rows:
        found[row.suite, row.server][row.mode] = row
    parts = (_modes(), _results(found), _versions(found), _listed())
    return _INTRODUCTION + "\n".join(line for part in parts for line in part) + "\n"


def _modes() -> Iterator[str]:
    yield from ('| mode | `OPTIONS["pool"]` |', "| --- | --- |")
    for mode, options in MODES.items():
        yield f"| `{mode}` | `{dict(options)}` |"


def _results(found: Mapping[Place, Mapping[str, Row]]) -> Iterator[str]:
    modes = [f"`{mode}`" for mode in MODES]
    heads = ["suite", "on", "tests", "skipped on stock", "fail on stock", *modes]
    yield from ("", "## The results", "", _row(heads), _row(["---"] * len(heads)))
    for place, by_mode in found.items():
        counts = _counts(by_mode.get(STOCK))
        yield _row([*place, *counts, *(_cell(by_mode.get(mode)) for mode in MODES)])


def _counts(stock: Row | None) -> Iterator[str]:
    for what in ("tests", "skipped", "failures"):
        yield "not run" if stock is None else f"{len(getattr(stock.outcome, what)):,}"


def _versions(found: Mapping[Place, Mapping[str, Row]]) -> Iterator[str]:
    yield from ("", "What they ran with:", "")
    for (suite, server), by_mode in found.items():
        if STOCK in by_mode:
            yield f"- {suite} on {server}: {', '.join(by_mode[STOCK].outcome.versions)}"


def _cell(row: Row | None) -> str:
    if row is None:
        return "not run"
    if not row.outcome.is_whole:
        return "did not end"
    alone = f", {row.alone} passed alone" if row.alone else ""
    return f"{len(row.new)} new, {len(row.listed)} listed{alone}"


def _listed() -> Iterator[str]:
    yield from ("", "## What is listed")
    for entry in KNOWN:
        yield from ("", f"{entry.reason}{_where(entry)}:", "")
        yield from (f"- `{test}`" for test in entry.tests)


def _where(entry: Known) -> str:
    parts = []
    if entry.servers != tuple(SERVERS):
        parts.append(f"on {' and '.join(entry.servers)}")
    if entry.modes != tuple(MODES):
        parts.append(f"with {' and '.join(f'`{mode}`' for mode in entry.modes)}")
    return f" ({', '.join(parts)})" if parts else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
