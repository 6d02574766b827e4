"""A whole run: the server, every scenario, and what is written at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testproject.cluster import ServerMissing

from . import machine, markdown
from .contestants import Missing
from .placement import Placement, placed, why_impossible
from .plots import IN_REPOSITORY, draw, prepare
from .progress import Progress
from .report import Report, as_json
from .rounds import Play, Results, in_fresh_process, name_in, play, wanted, why_missing
from .scenario import Scenario
from .server import Address, running_server
from .verdict import Status, exit_status, judge


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and where to write."""

    scenarios: Sequence[Scenario]
    #: Names of contestants to compare with; ``None`` for all.
    peers: Sequence[str] | None = None
    #: Turns of each contestant; ``None`` for each scenario's own number.
    rounds: int | None = None
    #: Where all of it runs; ``None``: each scenario where its targets are judged.
    placement: Placement | None = None
    is_quick: bool = False
    json: Path | None = None
    plots: Path | None = None
    results: Path | None = None
    readme: Path | None = None

    def rounds_of(self, scenario: Scenario) -> int:
        return self.rounds or (1 if self.is_quick else scenario.rounds)

    def runs(self) -> list[tuple[Scenario, Placement]]:
        """Every scenario in each of its placements, in order."""
        return [
            (scenario, placement)
            for scenario in self.scenarios
            for placement in ([self.placement] if self.placement else scenario.placements)
        ]


def run(plan: Plan) -> int:
    """Run it, write it, and return the exit status: 1 if a target was missed."""
    started = time.monotonic()
    # SIGTERM stops the server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if plan.plots is not None:
            prepare()  # Before anything is measured.
        with contextlib.ExitStack() as stack:
            turns = {}
            for placement in Placement:
                server = None
                if _needs_server(plan, placement):
                    server = stack.enter_context(_server_in(placement))
                turns[placement] = in_fresh_process(server, placement, is_quick=plan.is_quick)
            results = measure(plan, turns)
    except (ServerMissing, Missing) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    names = dict.fromkeys(name for each in results for name in each.turns)
    report = Report(machine.describe(names), results, time.monotonic() - started, plan.is_quick)
    return conclude(plan, report)


def _needs_server(plan: Plan, placement: Placement) -> bool:
    return why_impossible(placement) is None and any(
        scenario.needs_server for scenario, each in plan.runs() if each is placement
    )


@contextlib.contextmanager
def _server_in(placement: Placement) -> Iterator[Address]:
    """A server in this placement; this process is in it only while the server starts."""
    with contextlib.ExitStack() as stack:
        with placed(placement):
            address = stack.enter_context(running_server())
        yield address


def measure(plan: Plan, turns: Mapping[Placement, Play]) -> list[Results]:
    """Every scenario in turn, with its progress on standard error."""
    count = sum(
        plan.rounds_of(scenario)
        for scenario, placement in plan.runs()
        for contestant in wanted(scenario, plan.peers)
        if why_missing(scenario, contestant, placement) is None
    )
    progress = Progress(sys.stderr, count)
    measured = []
    for scenario, placement in plan.runs():
        progress.begin(name_in(scenario, placement))
        results = play(
            scenario,
            placement,
            peers=plan.peers,
            rounds=plan.rounds_of(scenario),
            turn=turns[placement],
            on_turn=progress.step,
        )
        progress.end(_remark(results))
        measured.append(results)
    return measured


def _remark(results: Results) -> str:
    verdicts = judge(results)
    counts = [
        (sum(verdict.status is status for verdict in verdicts), status.value) for status in Status
    ]
    remarks = [", ".join(f"{count} {word}" for count, word in counts if count)]
    remarks += [
        f"{name} failed: {failure}"
        for name in results.turns
        if (failure := results.failure(name)) is not None
    ]
    return "; ".join(filter(None, remarks))


def conclude(plan: Plan, report: Report) -> int:
    """Write the report, say what was missed, and return the exit status."""
    plots: list[Path] = []
    if plan.plots is not None:
        plots = [path for path in draw(report, plan.plots) if path.stem in IN_REPOSITORY]
    if plan.json is not None:
        plan.json.write_text(as_json(report) + "\n")
    if plan.results is not None:
        plan.results.write_text(markdown.render(report, _as_seen_from(plan.results, plots)))
    else:
        sys.stdout.write(markdown.render(report))
    if plan.readme is not None:
        summary = markdown.render_summary(report, _as_seen_from(plan.readme, plots))
        text = markdown.replace_between_marks(plan.readme.read_text(), summary)
        plan.readme.write_text(text)
    reasons = {each.reason for each in report.verdicts_with(Status.NOT_MEASURED)}
    for reason in sorted(reasons):
        sys.stderr.write(f"Not measured: {reason}.\n")
    for verdict in report.verdicts_with(Status.MISSED):
        sys.stderr.write(f"Missed: {markdown.describe_miss(verdict)}\n")
    return exit_status(report.verdicts)


def _as_seen_from(file: Path, paths: Sequence[Path]) -> list[Path]:
    return [Path(os.path.relpath(path, file.resolve().parent)) for path in paths]
