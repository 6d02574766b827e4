"""The report in Markdown: targets first, then every contestant of every scenario."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .contestants import CONTESTANTS
from .placement import Placement
from .report import Report
from .rounds import Results
from .scenario import Better, Compare, Metric, Target
from .verdict import Status, Summary, Verdict, contestant_summary, ratios

_MARKS = {Status.MET: "yes", Status.MISSED: "**no**", Status.NOT_MEASURED: "not measured"}


def render(report: Report, plots: Iterable[Path] = ()) -> str:
    """The whole of ``RESULTS.md``; ``plots`` are paths as seen from it."""
    return "\n".join(_lines(report, plots)) + "\n"


def _lines(report: Report, plots: Iterable[Path]) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Written by `python -m benchmarks`; [what it does](../docs/benchmarks.md)."
    yield ""
    yield from _machine(report)
    yield ""
    yield "## Targets"
    yield ""
    yield f"{_count(report)} Each number is the median of the rounds, and their least and most."
    yield ""
    yield from target_table(report.verdicts)
    for plot in plots:
        yield ""
        yield _picture(plot)
    for results in report.results:
        yield ""
        yield from _scenario(results)


def _count(report: Report) -> str:
    met, unmeasured = (
        len(report.verdicts_with(status)) for status in (Status.MET, Status.NOT_MEASURED)
    )
    text = f"{met} of {len(report.verdicts)} targets were met"
    return f"{text}, {unmeasured} were not measured." if unmeasured else f"{text}."


def _machine(report: Report) -> Iterator[str]:
    machine = report.machine
    kind = " (`--quick`)" if report.is_quick else ""
    yield (
        f"{machine.date}, {machine.cores} cores of {machine.processor or machine.system}, "
        f"{report.seconds / 60:.0f} minutes{kind}. "
        + ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        + "."
    )


def target_table(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """What had to be reached, and what was."""
    yield "| scenario | placement | must reach | reached | met |"
    yield "| --- | --- | --- | --- | --- |"
    for verdict in verdicts:
        reached = verdict.reason
        if verdict.reached is not None:
            numbers = _target_numbers(verdict.target, verdict.metric, verdict.reached)
            reached = f"{numbers}; {reached}" if reached else numbers
        target, mark = describe_target(verdict), _MARKS[verdict.status]
        yield _row((verdict.scenario, verdict.placement, target, reached, mark))


def describe_target(verdict: Verdict) -> str:
    """A target in words: ``requests: at least 4 times Django's pool``."""
    target = verdict.target
    bound = f"{target.bound:g}"
    words = "at most" if target.better is Better.LESS else "at least"
    unit = f" {verdict.metric.unit}" if verdict.metric.unit else ""
    peer = CONTESTANTS[target.peer].title if target.peer else ""
    if target.compare is Compare.RATIO:
        amount = f"{bound} times {peer}"
    elif target.compare is Compare.DIFFERENCE:
        amount = f"{bound}{unit} more than {peer}"
    else:
        amount = f"{bound}{unit}"
    whose = "" if target.ours == "ours" else f" of {CONTESTANTS[target.ours].title}"
    return f"{target.metric}{whose}: {words} {amount}"


def describe_miss(verdict: Verdict) -> str:
    """One line for the terminal."""
    reached = ""
    if verdict.reached is not None:
        reached = _target_numbers(verdict.target, verdict.metric, verdict.reached)
    found = "; ".join(part for part in (reached, verdict.reason) if part)
    return f"{verdict.scenario} ({verdict.placement}): {describe_target(verdict)} - {found}"


def _target_numbers(target: Target, metric: Metric, reached: Summary) -> str:
    if target.compare is Compare.RATIO:
        return _spread(reached, "times")
    return _spread(reached, metric.unit)


@dataclass(frozen=True)
class _Figure:
    """A line of the README: ``text`` has a place for the ratio to each peer."""

    scenario: str
    peers: tuple[str, ...]
    text: str

    def of(self, results: Results) -> str | None:
        metric = results.scenario.metrics[0].name
        found = [ratios(results, metric, "ours", peer) for peer in self.peers]
        numbers = [number(ratio.median) for ratio in found if ratio is not None]
        return self.text.format(*numbers) if len(numbers) == len(self.peers) else None


#: What the README shows: three lines, and one picture.
_FIGURES = (
    _Figure(
        "web",
        ("stock-persistent", "django-pool"),
        "64 threads on 4 connections, each request a query, 10 ms of other work and a query: "
        "**{} times** the requests per second of Django with 64 persistent connections, "
        "**{} times** those of Django's pool.",
    ),
    _Figure(
        "page",
        ("stock-persistent",),
        "40 threads on 4 connections, each request ten queries of the ORM around 10 ms of other "
        "work: **{} times** the requests per second of Django with 40 persistent connections.",
    ),
    _Figure(
        "request",
        ("stock-persistent",),
        "A request of two queries on one thread: **{} times** the processor time of Django with "
        "a persistent connection.",
    ),
)
_PLOT = "threads-throughput"


def render_summary(report: Report, plots: Iterable[Path] = ()) -> str:
    """The README's few lines; ``plots`` are paths as seen from it."""
    played = {results.name: results for results in report.results}
    found = [each.of(played[each.scenario]) for each in _FIGURES if each.scenario in played]
    lines = [f"- {line}" for line in found if line is not None]
    for plot in plots:
        if plot.stem == _PLOT:
            lines += ["", _picture(plot)]
    return "\n".join(lines)


def _picture(plot: Path) -> str:
    return f"![{plot.stem.replace('-', ' ')}]({plot.as_posix()})"


def _scenario(results: Results) -> Iterator[str]:
    yield f"## {results.name}"
    yield ""
    yield f"{results.scenario.does} {_describe_placement(results)}"
    yield ""
    yield from _contestant_table(results)
    for name, reason in results.missing.items():
        yield ""
        yield f"{CONTESTANTS[name].title} did not take part: {reason}."


def _describe_placement(results: Results) -> str:
    scenario = results.scenario
    if results.placement is Placement.FREE:
        text = "Free: the operating system placed all processes."
    elif scenario.needs_server:
        text = "Pinned: client and server shared one processor."
    else:
        text = "Pinned: on one processor."
    if scenario.targets and not scenario.targets_in(results.placement):
        text += " Its targets are judged in the other placement."
    return text


def _contestant_table(results: Results) -> Iterator[str]:
    """Every contestant's numbers, and the ratios of ours to them."""
    scenario = results.scenario
    ours = [name for name in results.turns if CONTESTANTS[name].is_ours]
    first = scenario.metrics[0]
    heads = [_head(metric) for metric in scenario.metrics]
    heads += [f"{first.name}: `{name}` to this" for name in ours]
    yield _row(["contestant", *heads])
    yield _row(["---"] * (len(heads) + 1))
    for name in results.turns:
        cells = [f"{CONTESTANTS[name].title} (`{name}`)"]
        failure = results.failure(name)
        if failure is not None:
            cells[0] += f"; failed: {failure}"
        for metric in scenario.metrics:
            summary = contestant_summary(results, name, metric.name)
            cells.append("" if summary is None else _spread(summary))
        for our in ours:
            ratio = None if our == name else ratios(results, first.name, our, name)
            cells.append("" if ratio is None else f"{number(ratio.median)} times")
        yield _row(cells)


def _head(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.name}{unit} ({metric.better} is better)"


def _spread(summary: Summary, unit: str = "") -> str:
    middle, least, most = (number(value) for value in (summary.median, summary.least, summary.most))
    text = f"{middle} {unit}".strip()
    return text if least == most else f"{text} ({least} to {most})"


def number(value: float) -> str:
    """Three digits that count, and never an exponent."""
    size = abs(value)
    if value == int(value) or size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def replace_between_marks(text: str, content: str) -> str:
    """``text`` with ``content`` between the two marks, which it must have."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"There are no lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{content.strip()}\n{END}{after}"
