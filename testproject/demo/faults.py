"""Faults on purpose: connections of the shop are killed while it serves requests."""

from __future__ import annotations

import time
from typing import Any

import psycopg

#: How many times connections are killed during a round, and how many each time.
TIMES = 4
CONNECTIONS = 2

_KILL = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = %s ORDER BY random() LIMIT %s
    ) AS chosen
"""


class FaultInjector:
    """Kills some of the serving process's connections, several times during a round."""

    def __init__(self, connection: psycopg.Connection[Any], application_name: str) -> None:
        self.application_name = application_name
        #: How many connections were killed so far.
        self.killed = 0
        self._connection = connection
        #: Start and end of each time, by ``time.monotonic()``.
        self._times: list[tuple[float, float]] = []

    def advance(self, share: float) -> None:
        """Kill if the next time has come: ``share`` of the work, from 0 to 1, is done."""
        if len(self._times) < TIMES and share * (TIMES + 1) >= len(self._times) + 1:
            started = time.monotonic()
            rows = self._connection.execute(_KILL, [self.application_name, CONNECTIONS]).fetchall()
            self._times.append((started, time.monotonic()))
            self.killed += sum(killed for (killed,) in rows)

    def was_active(self, started: float, ended: float) -> bool:
        """Whether connections were killed between two moments."""
        return any(first <= ended and last >= started for first, last in self._times)
