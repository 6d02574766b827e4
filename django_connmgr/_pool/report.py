"""Words for an exhausted pool: its numbers, who holds its connections, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from .owner import Owner
from .stats import PoolStats

#: As many holders are named; the oldest ones tell the story.
MOST_HOLDERS = 5

#: Owner, leased at, last used at.
Holding = tuple[Owner | None, float, float]


def describe_exhaustion(
    stats: PoolStats, holders: Sequence[Holding], now: float, waited: float
) -> str:
    """The message of a ``PoolTimeout``."""
    summary = (
        f"No connection from pool {stats.name!r} within {waited:.1f} s: "
        f"size={stats.size} of max_size={stats.max_size} ({stats.connecting} connecting, "
        f"{stats.idle} idle, {stats.leased} leased, {stats.maintenance} in maintenance), "
        f"{stats.waiting} others waiting, pool {stats.status}."
    )
    lines = [summary]
    if holders:
        lines.append("Oldest holders:")
        lines.extend(_describe_holder(holding, now) for holding in holders[:MOST_HOLDERS])
        if len(holders) > MOST_HOLDERS:
            lines.append(f"  and {len(holders) - MOST_HOLDERS} more")
    lines.append(_advice(stats))
    return "\n".join(lines)


def _describe_holder(holding: Holding, now: float) -> str:
    owner, leased_at, used_at = holding
    if owner is None:
        return "  an unknown thread"
    state = "alive" if owner.is_alive() else "dead"
    words = [
        f"  thread {owner.name!r} ({state})",
        f"held for {now - leased_at:.1f} s",
        f"idle for {now - used_at:.1f} s",
    ]
    if owner.activity:
        words.append(f"in {owner.activity}")
    return ", ".join(words)


def _advice(stats: PoolStats) -> str:
    if stats.status == "suspended":
        return "The pool is suspended; call resume() on it."
    if not stats.leased and not stats.idle:
        return "Connecting to the server takes too long; see whether it can be reached."
    return (
        "Hold connections for less time (with_connection(), release_connection()), "
        "or raise max_size."
    )
