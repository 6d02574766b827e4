"""What goes wrong in real life: somebody kills connections while they are in use."""

from __future__ import annotations

import time
from typing import Any

import psycopg

#: How often during a round, and how many connections each time.
ROUNDS = 4
VICTIMS = 2

_KILL = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = %s ORDER BY random() LIMIT %s
    ) AS victims
"""


class Mischief:
    """Kills a few of the serving process's connections, several times in a round."""

    def __init__(self, connection: psycopg.Connection[Any], application_name: str) -> None:
        self.application_name = application_name
        self.victims = 0
        self._connection = connection
        #: Start and end of each attempt, by ``time.monotonic()``.
        self._times: list[tuple[float, float]] = []

    def advance(self, share: float) -> None:
        """Kill if it is time to: ``share`` of the work, from 0 to 1, is done."""
        if len(self._times) < ROUNDS and share * (ROUNDS + 1) >= len(self._times) + 1:
            started = time.monotonic()
            rows = self._connection.execute(_KILL, [self.application_name, VICTIMS]).fetchall()
            self._times.append((started, time.monotonic()))
            self.victims += sum(killed for (killed,) in rows)

    def struck(self, started: float, ended: float) -> bool:
        """Whether connections were killed between two moments."""
        return any(first <= ended and last >= started for first, last in self._times)
