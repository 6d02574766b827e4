"""``python -m suites``: the command line, and the order in which things are run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from .mode import MODES, STOCK
from .outcome import Outcome
from .run import Run
from .sdist import cache, unpacked
from .server import SERVERS, Server
from .suite import SUITES, Suite
from .table import Row, lines


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    for name in options.suites or SUITES:
        for database in options.server or SUITES[name].servers:
            with SERVERS[database]() as server:
                rows += _compare(SUITES[name], database, server, options)
    sys.stdout.writelines(f"{line}\n" for line in lines(rows))
    return 0 if all(row.is_fine for row in rows) else 1


def _compare(
    suite: Suite, database: str, server: Server, options: argparse.Namespace
) -> Iterator[Row]:
    labels = tuple(options.labels or suite.labels)
    source = unpacked(suite.requirement)
    outputs = cache() / "output"
    outputs.mkdir(exist_ok=True)
    part = "-part" if options.labels else ""

    def prepare(mode: str) -> Run:
        name = f"{suite.name}{part}-{database}-{mode.replace('=', '-').replace('"', '')}"
        return Run(suite, source, labels, MODES.get(mode), outputs / f"{name}.json")

    modes = options.mode or [STOCK, *MODES]
    stock = None if STOCK in modes else prepare(STOCK).remembered()
    for mode in modes:
        outcome = _timed(prepare(mode), server)
        if mode == STOCK:
            stock = outcome
        yield Row(suite.name, database, mode, outcome, stock)


def _timed(run: Run, server: Server) -> Outcome:
    started = time.monotonic()
    outcome = run.on(server)
    sys.stderr.write(f"{time.monotonic() - started:4.0f} s  {run.output}\n")
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m suites",
        description="Runs other people's test suites, unchanged, on our engine and on Django's "
        "own. The exit status is 1 if a test fails on ours alone and is not a known one.",
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
