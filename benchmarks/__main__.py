"""``python -m benchmarks``: the command line, and nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .contestants import CONTESTANTS
from .placement import Placement
from .run import Plan, run
from .scenarios import SCENARIOS

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for scenario in SCENARIOS.values():
            sys.stdout.write(f"{scenario.name:<22} {scenario.does}\n")
            sys.stdout.write(f"{'':<22} placements: {', '.join(scenario.placements)}\n")
            sys.stdout.write(f"{'':<22} contestants: {', '.join(scenario.contestants)}\n")
        return 0
    _check_names(parser, "scenario", options.names, SCENARIOS)
    _check_names(parser, "contestant", options.peers or (), CONTESTANTS)
    is_full = not (
        options.names or options.peers or options.quick or options.rounds or options.placement
    )
    return run(
        Plan(
            scenarios=[SCENARIOS[name] for name in options.names or SCENARIOS],
            peers=options.peers,
            rounds=options.rounds,
            placement=options.placement,
            is_quick=options.quick,
            json=options.json,
            plots=options.plot or (HERE / "plots" if is_full else None),
            results=options.results or (HERE / "RESULTS.md" if is_full else None),
            readme=HERE.parent / "README.md" if is_full else None,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures django-connmgr side by side with every peer. A run of everything "
        "writes benchmarks/RESULTS.md, its plots, and the README's lines. The exit status is 1 "
        "if a target was missed.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="contestants beside ours")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="one round, and a quarter of the time")
    placement = parser.add_mutually_exclusive_group()
    placement.add_argument(
        "--pin",
        dest="placement",
        action="store_const",
        const=Placement.PINNED,
        help="client and server share one processor (default: as each scenario is judged)",
    )
    placement.add_argument(
        "--free",
        dest="placement",
        action="store_const",
        const=Placement.FREE,
        help="the operating system places all processes",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw there (SVG)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the report there")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _check_names(
    parser: argparse.ArgumentParser, kind: str, names: Sequence[str], known: Mapping[str, object]
) -> None:
    for name in names:
        if name not in known:
            parser.error(f"no {kind} is called {name!r}; there are: {', '.join(known)}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
