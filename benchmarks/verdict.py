"""Whether targets were reached: medians of what is paired round by round."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from .contestants import CONTESTANTS
from .placement import Placement
from .rounds import Results
from .scenario import Better, Compare, Metric, Target


class Status(enum.StrEnum):
    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Summary:
    """The median of some rounds, and the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Verdict:
    """One target, and whether it was reached."""

    scenario: str
    placement: Placement
    target: Target
    metric: Metric
    status: Status
    reached: Summary | None = None
    #: Why it was not measured.
    reason: str = ""


def summarise(values: list[float]) -> Summary | None:
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values))


def contestant_summary(results: Results, contestant: str, metric: str) -> Summary | None:
    """A contestant's own numbers."""
    values = results.values(contestant, metric)
    return summarise([value for value in values if value is not None])


def ratios(results: Results, metric: str, ours: str, peer: str) -> Summary | None:
    """Ours divided by the peer's of the same round, so that what slowed both is left out."""
    return summarise(list(_paired(results, metric, ours, peer, Compare.RATIO)))


def _paired(
    results: Results, metric: str, ours: str, peer: str | None, compare: Compare
) -> Iterator[float]:
    mine = results.values(ours, metric)
    theirs = mine if peer is None else results.values(peer, metric)
    for our, their in zip(mine, theirs, strict=False):
        if our is None or their is None:
            continue
        if compare is Compare.VALUE:
            yield our
        elif compare is Compare.DIFFERENCE:
            yield our - their
        elif their:
            yield our / their


def judge(results: Results) -> list[Verdict]:
    """Every target of the scenario that is judged where it was played, in its order."""
    return [_judge(results, target) for target in results.scenario.targets_in(results.placement)]


def _judge(results: Results, target: Target) -> Verdict:
    metric = results.scenario.metric(target.metric)
    verdict = partial(Verdict, results.scenario.name, results.placement, target, metric)
    reached = summarise(
        list(_paired(results, target.metric, target.ours, target.peer, target.compare))
    )
    own_failure = results.failure(target.ours)
    if own_failure is not None:
        # A median of those that succeeded would hide it.
        reason = f"{CONTESTANTS[target.ours].title} failed: {own_failure}"
        return verdict(Status.MISSED, reached, reason)
    if reached is None:
        reason = _why_not(results, target)
        return verdict(Status.NOT_MEASURED, None, reason)
    is_met = (
        reached.median <= target.bound
        if target.better is Better.LESS
        else reached.median >= target.bound
    )
    return verdict(Status.MET if is_met else Status.MISSED, reached)


def _why_not(results: Results, target: Target) -> str:
    for name in (target.ours, target.peer):
        if name is None:
            continue
        title = CONTESTANTS[name].title
        if name in results.missing:
            return results.missing[name]
        if name not in results.turns:
            return f"{title} was not asked for"
        failure = results.failure(name)
        if failure is not None:
            return f"{title} failed: {failure}"
    return "there is nothing to compare with"


def exit_status(verdicts: list[Verdict]) -> int:
    """1 if a target was missed. What was not measured was not missed."""
    return int(any(verdict.status is Status.MISSED for verdict in verdicts))
