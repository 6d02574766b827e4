"""``python -m suites``: the command line, and the order in which things are run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from testproject.cluster import Cluster, running_cluster

from .outcome import Outcome
from .run import Run
from .sdist import cache, unpacked
from .suite import SUITES, Suite
from .table import Row, lines

RELEASES = ("request", "transaction")
MAX_SIZE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rows: list[Row] = []
    with running_cluster() as cluster:
        for name in options.suites or SUITES:
            rows += _compare(SUITES[name], cluster, options)
    sys.stdout.writelines(f"{line}\n" for line in lines(rows))
    return 0 if all(row.is_fine for row in rows) else 1


def _compare(suite: Suite, cluster: Cluster, options: argparse.Namespace) -> Iterator[Row]:
    labels = tuple(options.labels or suite.labels)
    source = unpacked(suite.requirement)
    outputs = cache() / "output"
    outputs.mkdir(exist_ok=True)

    def prepare(engine: str, pool: dict[str, Any] | None) -> Run:
        part = "-part" if options.labels else ""
        return Run(suite, source, labels, pool, outputs / f"{source.name}-{engine}{part}.txt")

    stock: Outcome | None
    run = prepare("stock", None)
    if options.engine == "ours":
        stock = run.remembered()
    else:
        stock = _timed(run, cluster)
        yield Row(suite.name, "stock", stock)
    if options.engine != "stock":
        for release in [options.release] if options.release else RELEASES:
            run = prepare(release, {"release": release, "max_size": MAX_SIZE})
            yield Row(suite.name, release, _timed(run, cluster), stock)


def _timed(run: Run, cluster: Cluster) -> Outcome:
    started = time.monotonic()
    outcome = run.on(cluster)
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
    parser.add_argument("--release", choices=RELEASES, help="the pool's option (default: both)")
    parser.add_argument(
        "--engine",
        choices=("ours", "stock", "both"),
        default="both",
        help="'ours' compares with the last run on stock",
    )
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="tests, as the suite has them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
