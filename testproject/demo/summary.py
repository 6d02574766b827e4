"""What the demonstration of replicas shows, for a terminal of 80 columns, and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .failover import MAX_SIZE, NAME, Story

_LABEL, _CELL = 43, 12
RULE = "-" * (_LABEL + 3 * _CELL)
#: One of the primary's, one of the replica's, and one by which the replicas' alias reads from it.
POOLS = 3
#: Seconds after the promotion within which writes must succeed again.
RECOVERY = 5.0


def render_story(story: Story) -> str:
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    visits, names = story.visits, story.names
    excused, failed = _failed_writes(story)
    yield _line("", *names.values())
    yield RULE
    yield _line("Reads", *(f"{visits.reads[port]:,}" for port in names))
    yield _line("Connections at most, server's count", *story.peaks.values())
    yield _line(f"  of {POOLS} pools of {MAX_SIZE}", *[POOLS * MAX_SIZE] * len(names))
    yield RULE
    yield _line("Orders written", f"{len(visits.writes):,}")
    yield _line("Reads of own writes that were stale", visits.stale)
    yield _line("Reads that failed", len(visits.failed_reads))
    yield _line("Writes that failed while no primary existed", excused)
    yield _line("Writes that failed otherwise", len(failed))
    yield _line("Writes again after the promotion", f"{_recovery(story):.1f} s")


def broken_by(story: Story) -> list[str]:
    """What must not happen, and did; empty if all promises were kept."""
    visits, found = story.visits, []
    _, failed = _failed_writes(story)
    if visits.stale:
        found.append(f"{visits.stale} reads did not show what their client had written.")
    reasons = Counter(visits.failed_reads)
    found.extend(f"{count} reads failed: {reason}." for reason, count in sorted(reasons.items()))
    found.extend(f"A write failed though there was a primary: {reason}." for reason in failed)
    if _recovery(story) > RECOVERY:
        found.append(f"Writes needed {_recovery(story):.1f} s to find the new primary.")
    _, *replicas = story.names.items()  # The first one may have had nothing to do but writes.
    found.extend(
        f"Nothing was read from {name}: nothing was shown."
        for port, name in replicas
        if not visits.reads[port]
    )
    for name, peak in story.peaks.items():
        if not 0 < peak <= POOLS * MAX_SIZE:
            found.append(f"{name} counted {peak} connections of {NAME!r}.")
    return found


def _failed_writes(story: Story) -> tuple[int, list[str]]:
    """How many failed while there was no primary, and why the others did."""
    begin, end = story.outage
    others = [
        reason
        for started, ended, reason in story.visits.failed_writes
        if ended < begin or started > end
    ]
    return len(story.visits.failed_writes) - len(others), others


def _recovery(story: Story) -> float:
    later = [when for when in story.visits.writes if when > story.outage[1]]
    return min(later, default=float("inf")) - story.outage[1]


def _line(label: str, *cells: object) -> str:
    return (label.ljust(_LABEL) + "".join(str(cell).rjust(_CELL) for cell in cells)).rstrip()
