"""Pictures of the report, as SVG: what one number does not show."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contestants import CONTESTANTS, INSTALL_GROUP, Missing
from .report import Report
from .rounds import Results
from .scenario import Curve, Outcome

#: A colour for each contestant, the same in every picture; ours are green.
_COLOURS = {
    "ours": "#0b6623",
    "ours-transaction": "#4caf50",
    "stock": "#b0b0b0",
    "stock-persistent": "#606060",
    "gated": "#b8860b",
    "django-pool": "#c0392b",
    "real-pool": "#e67e22",
    "db-connection-pool": "#8e44ad",
    "geventpool": "#2980b9",
    "psycopg_pool": "#c0392b",
    "queuepool": "#8e44ad",
    "bare": "#202020",
}


#: The pictures that are kept beside the numbers; the others are drawn when they are wanted.
IN_REPOSITORY = ("threads-throughput", "page-waits")


@dataclass(frozen=True)
class Plot:
    """How the curves named ``series`` are drawn."""

    series: str
    title: str
    x: str
    y: str
    draw: Callable[[Any], object] = lambda axes: None  # noqa: ARG005


def _from_zero(axes: Any) -> None:
    axes.set_ylim(bottom=0)


def _threads(axes: Any) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    _from_zero(axes)


def _waits(axes: Any) -> None:
    axes.set_yscale("log")


_PLOTS = (
    Plot("throughput", "Throughput", "threads", "requests per second", _threads),
    Plot("waits", "Waits, from the shortest to the longest", "share of waits", "ms", _waits),
    Plot("connections", "Connections, as the server counts them", "ms", "open", _from_zero),
)


def prepare() -> None:
    """Raise ``Missing`` if nothing can be drawn."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise Missing(f"matplotlib is not installed: {INSTALL_GROUP}") from None
    mpl.use("svg")
    # Text stays text, and the same numbers make the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks"})


def draw(report: Report, directory: Path) -> list[Path]:
    """One file for each scenario and series that it has; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for results in report.results:
        for plot in _PLOTS:
            curves = {
                name: curve for name in results.turns if (curve := _curve(results, name, plot))
            }
            if curves:
                path = directory / f"{results.name}-{plot.series}.svg"
                _draw(plot, results, curves, path)
                paths.append(path)
    return paths


def _curve(results: Results, contestant: str, plot: Plot) -> Curve:
    """The median of all rounds; where their points lie elsewhere each time, the middle round."""
    key = results.scenario.metrics[0].name
    turns = [turn for turn in results.turns[contestant] if isinstance(turn, Outcome)]
    turns.sort(key=lambda turn: turn.measures.get(key, 0.0))
    curves = [curve for turn in turns if (curve := turn.series.get(plot.series))]
    if not curves:
        return []
    if len({tuple(x for x, _ in curve) for curve in curves}) > 1:
        return curves[len(curves) // 2]
    return [
        (points[0][0], statistics.median(y for _, y in points))
        for points in zip(*curves, strict=True)
    ]


def _draw(plot: Plot, results: Results, curves: dict[str, Curve], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        contestant = CONTESTANTS[name]
        axes.plot(
            *zip(*curve, strict=True),
            label=contestant.title,
            color=_COLOURS.get(name),
            linewidth=2.5 if contestant.is_ours else 1.5,
        )
    axes.set(title=f"{plot.title} ({results.name})", xlabel=plot.x, ylabel=plot.y)
    plot.draw(axes)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="x-small", loc="outside right center")
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
