"""How many connections the shop has to each of several servers, as those count them."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psycopg

from ..cluster import DATABASE
from ..member import Member

#: Between two counts, in seconds.
PAUSE = 0.005
_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


class MemberCounter:
    """Counts during a ``with`` block, also on servers that come and go."""

    def __init__(self, members: list[Member], application_name: str) -> None:
        self._name = application_name
        self.peaks = dict.fromkeys((member.name for member in members), 0)
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(member,), name=f"counter-{member.name}")
            for member in members
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, member: Member) -> None:
        while not self._is_over.wait(PAUSE):
            try:
                with member.connect(DATABASE) as connection:
                    self._count(member, connection)
            except psycopg.Error:
                continue  # It is down, or has just gone down.

    def _count(self, member: Member, connection: psycopg.Connection[tuple[int]]) -> None:
        while not self._is_over.wait(PAUSE):
            row = connection.execute(_COUNT, [self._name]).fetchone()
            self.peaks[member.name] = max(self.peaks[member.name], row[0] if row else 0)
