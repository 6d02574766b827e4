"""How many connections a contestant has over time, counted by asking the server.

A process of its own counts, so that counting costs the contestant's process nothing.
"""

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

from .scenario import Curve
from .server import APPLICATION, VARIABLE, Address

#: Between two counts, in seconds.
PAUSE = 0.005
_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


@dataclass
class ConnectionCounts:
    """Counts and their moments, by the monotonic clock, which all processes share."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        return max((count for _, count in self.samples), default=0)

    @property
    def last(self) -> int:
        return self.samples[-1][1] if self.samples else 0

    def since(self, began: float) -> Curve:
        """A curve to draw, in milliseconds from ``began`` on."""
        return [(1000 * (at - began), float(count)) for at, count in self.samples if at >= began]


@contextlib.contextmanager
def counting(server: Address) -> Iterator[ConnectionCounts]:
    """Count throughout the block; all samples are there when it ends."""
    counts = ConnectionCounts()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, VARIABLE: server.as_text()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    with process:
        process.stdout.readline()  # The process has begun to count.
        yield counts
        output, _ = process.communicate()
    counts.samples = [(at, count) for at, count in json.loads(output)]


def main() -> None:
    """Count until standard input is closed."""
    import psycopg

    counts = []
    server = Address.from_text(os.environ[VARIABLE])
    with psycopg.connect(autocommit=True, **server.conninfo("connection-counts")) as connection:
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
