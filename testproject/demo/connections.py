"""How many connections the serving process has, as the database server counts them."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psycopg

from .database import Database, DemoError

#: Between two counts, in seconds.
PAUSE = 0.003

_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"


class ConnectionCounter:
    """Counts again and again during a ``with`` block, on a connection and a thread of its own."""

    def __init__(self, database: Database, application_name: str) -> None:
        self.application_name = application_name
        self.peak = 0
        self._connection = database.connect("shop-counter")
        self._error: psycopg.Error | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="counter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._connection.close()
        if self._error is not None and exc_type is None:
            raise DemoError(f"The server's connections could not be counted: {self._error}")

    def _run(self) -> None:
        try:
            self._count()
        except psycopg.Error as error:
            self._error = error

    def _count(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._is_over.wait(PAUSE):
                row = cursor.execute(_COUNT, [self.application_name]).fetchone()
                self.peak = max(self.peak, row[0] if row else 0)
