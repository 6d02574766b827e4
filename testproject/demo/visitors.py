"""Clients that order something, and look at their order."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .client import Client, RequestError

#: How often a client looks at an order after it has made it.
LOOKS = 4


@dataclass
class Visits:
    """What became of the requests. Times are those of ``time.monotonic()``."""

    #: By the port of the server that answered.
    reads: Counter[int] = field(default_factory=Counter)
    stale: int = 0
    failed_reads: list[str] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    #: When a write that failed began and ended, and why it failed.
    failed_writes: list[tuple[float, float, str]] = field(default_factory=list)


class Visitors:
    """Some clients at once, each with a thread, a connection and cookies of its own."""

    def __init__(self, host: str, port: int, *, clients: int) -> None:
        self._address = (host, port)
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._orders: list[dict[str, Any]] = []
        self.visits = Visits()  # guarded by _lock
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"visitor-{number}")
            for number in range(clients)
        ]

    def start(self) -> None:
        with Client(*self._address) as client:
            self._orders = client.export()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and wait for what is on the way."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def reads(self) -> int:
        with self._lock:
            return self.visits.reads.total()

    def _run(self, number: int) -> None:
        with Client(*self._address) as client:
            client.order = self._orders[number % len(self._orders)]
            while not self._is_over.is_set():
                created = self._order(client)
                for _ in range(LOOKS if created else 0):
                    self._look(client, created)

    def _order(self, client: Client) -> int:
        """The new order's key; 0 if there is none."""
        started = time.monotonic()
        try:
            key = int(client.order_again()["id"])
        except RequestError as error:
            with self._lock:
                self.visits.failed_writes.append((started, time.monotonic(), str(error)))
            time.sleep(0.05)  # As a client does that tries again.
            return 0
        with self._lock:
            self.visits.writes.append(time.monotonic())
        return key

    def _look(self, client: Client, key: int) -> None:
        try:
            port = client.see_order(key)["read_from"]
        except RequestError as error:
            with self._lock:
                if str(error) == "status 404":
                    self.visits.stale += 1
                else:
                    self.visits.failed_reads.append(str(error))
        else:
            with self._lock:
                self.visits.reads[port] += 1
