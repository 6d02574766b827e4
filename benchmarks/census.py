"""Contestants' connections over time, as the server counts them, from a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from .server import APPLICATION, VARIABLE, Address

#: Between two counts, in seconds.
PAUSE = 0.005
_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


@dataclass
class Census:
    """Moments of the monotonic clock, which all processes share, and counts."""

    counts: list[tuple[float, int]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        return max((count for _, count in self.counts), default=0)

    @property
    def last(self) -> int:
        return self.counts[-1][1] if self.counts else 0

    def since(self, began: float) -> list[tuple[float, float]]:
        """A line to draw, in milliseconds."""
        return [(1000 * (at - began), float(count)) for at, count in self.counts if at >= began]


@contextlib.contextmanager
def counting(server: Address) -> Iterator[Census]:
    """Counts throughout the block; the census is complete when it ends."""
    census = Census()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, VARIABLE: server.as_text()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    with process:
        process.stdout.readline()  # It counts from here on.
        yield census
        output, _ = process.communicate()
    census.counts = [(at, count) for at, count in json.loads(output)]


def main() -> None:
    """Count until standard input is closed."""
    import psycopg

    counts = []
    server = Address.from_text(os.environ[VARIABLE])
    with psycopg.connect(autocommit=True, **server.conninfo("census")) as connection:
        sys.stdout.write("\n")
        sys.stdout.flush()
        is_over = False
        while not is_over:
            row = connection.execute(_COUNT, [APPLICATION]).fetchone()
            counts.append((time.monotonic(), row[0] if row else 0))
            is_over = bool(select.select([sys.stdin], [], [], PAUSE)[0])
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main()
