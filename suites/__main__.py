"""``python -m suites``: the command line, and the order in which things are run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from . import document
from .mode import MODES, STOCK
from .outcome import Outcome
from .row import Row
from .run import Run
from .server import SERVERS, Server
from .suite import SUITES, Suite
from .table import lines


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.document:
        places = [(suite.name, on) for suite in SUITES.values() for on in suite.servers]
        document.PATH.write_text(document.text(_remembered(), places))
        return 0
    rows: list[Row] = []
    for name in options.suites or SUITES:
        suite = SUITES[name]
        for on in set(suite.servers).intersection(options.server or SERVERS):
            with SERVERS[on]() as server:
                rows += _compare(suite, on, server, options)
    sys.stdout.writelines(f"{line}\n" for line in lines(rows))
    return 0 if all(row.is_fine for row in rows) else 1


def _compare(suite: Suite, on: str, server: Server, options: argparse.Namespace) -> Iterator[Row]:
    labels = None if options.labels is None else tuple(options.labels)
    modes = options.mode or [STOCK, *MODES]
    stock = None if STOCK in modes else Run.of(suite, on, STOCK, labels).remembered()
    for mode in modes:
        run = Run.of(suite, on, mode, labels)
        outcome = _again(run, on, mode, server) if options.again else _timed(run, server)
        if mode == STOCK:
            stock = outcome
        yield Row(suite.name, on, mode, outcome, stock)


def _again(run: Run, on: str, mode: str, server: Server) -> Outcome:
    """Only what was new in the last run."""
    stock = Run.of(run.suite, on, STOCK).remembered()
    last = run.remembered()
    if last is None:
        raise SystemExit(f"{run.suite.name} on {on}, {mode}: run it without --again first.")
    new = Row(run.suite.name, on, mode, last, stock).new
    return run.again(last, tuple(test.partition(" (")[0] for test in new), server)


def _timed(run: Run, server: Server) -> Outcome:
    started = time.monotonic()
    outcome = run.on(server)
    sys.stderr.write(f"{time.monotonic() - started:4.0f} s  {run.output}\n")
    return outcome


def _remembered() -> Iterator[Row]:
    """All that was run with the labels of the suites themselves."""
    for suite in SUITES.values():
        for on in suite.servers:
            outcomes = {mode: Run.of(suite, on, mode).remembered() for mode in (STOCK, *MODES)}
            stock = outcomes[STOCK]
            for mode, outcome in outcomes.items():
                if stock is not None and stock.is_whole and outcome is not None:
                    yield Row(suite.name, on, mode, outcome, stock)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m suites",
        description="Runs other people's test suites, unchanged, on our engine and on Django's "
        "own. The exit status is 1 if a test that passes on Django's does not on ours and is not "
        "listed, or is listed and passes.",
    )
    parser.add_argument(
        "suites", nargs="*", choices=SUITES, metavar="SUITE", help=", ".join(SUITES)
    )
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument(
        "--mode",
        action="append",
        choices=[STOCK, *MODES],
        help="without 'stock', the last run on stock is compared with (default: all)",
    )
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="tests, as the suite has them")
    parser.add_argument(
        "--again",
        action="store_true",
        help="run only what was new in the last run, alone, and correct its outcome",
    )
    parser.add_argument(
        "--document",
        action="store_true",
        help="run nothing, and write docs/compatibility.md from the last runs",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
