"""The comparison, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from .engine import Engine
from .result import Result

_LABEL = 38
_CELL = 19
RULE = "-" * (_LABEL + 2 * _CELL)


def render(pooled: Result, stock: Result) -> str:
    """Both rounds side by side."""
    return "\n".join(_lines(pooled, stock)) + "\n"


def _lines(pooled: Result, stock: Result) -> Iterator[str]:
    yield _line("", Engine.POOLED.value, Engine.STOCK.value)
    yield RULE
    yield _line("Requests", pooled.requests, stock.requests)
    yield _line("Errors", pooled.failed, stock.failed)
    for failure in sorted({*pooled.errors, *stock.errors}):
        yield _line(f"  {failure}", pooled.errors.get(failure, 0), stock.errors.get(failure, 0))
    yield _line("Lost in flight, connections killed", _losses(pooled), _losses(stock))
    yield _line("Threads ended without cleaning up", pooled.abandoned, stock.abandoned)
    yield RULE
    yield _line("Connections at most, server's count", _of_limit(pooled), stock.peak)
    yield from _pool_lines(pooled)
    yield RULE
    for share in (0.5, 0.95, 0.99):
        yield _line(
            f"Latency p{100 * share:.0f}",
            f"{1000 * pooled.percentile(share):.0f} ms",
            f"{1000 * stock.percentile(share):.0f} ms",
        )
    yield _line(
        "Throughput of successful requests",
        f"{pooled.throughput:.0f} per s",
        f"{stock.throughput:.0f} per s",
    )


def _pool_lines(result: Result) -> Iterator[str]:
    """The rows that only the pool has numbers for."""
    pool = result.pool
    mean = 1000 * pool["wait_seconds"] / max(pool["waits"], 1)
    yield _line("Leases", pool["checkouts"])
    yield _line("  that had to wait, mean wait", f"{pool['waits']}, {mean:.0f} ms")
    yield _line("  taken back from dead threads", pool["reaped"])
    yield _line("Connections opened", pool["opened"])
    yield _line("Connections closed", sum(pool["closed"].values()))
    for reason, count in sorted(pool["closed"].items()):
        yield _line(f"  {reason.replace('_', ' ')}", count)


def _line(label: str, *cells: object) -> str:
    padded = [*map(str, cells), "-"][:2]
    return (label.ljust(_LABEL) + "".join(cell.rjust(_CELL) for cell in padded)).rstrip()


def _of_limit(result: Result) -> str:
    return f"{result.peak} of {result.pool['max_size'] or 'no limit'}"


def _losses(result: Result) -> str:
    return f"{result.interrupted} of {result.killed}"
