"""Many clients at once, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .client import Client, RequestError

#: What the clients request, in turn. One request in four waits for the payment provider.
MIX: tuple[Callable[[Client], object], ...] = (
    Client.list_orders, Client.pay, Client.see_customer, Client.order_again,
    Client.list_orders, Client.pay, Client.ask_receipt, Client.list_orders,
    Client.see_customer, Client.pay, Client.report, Client.list_orders,
    Client.order_again, Client.pay, Client.export, Client.list_orders,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended. Times are those of ``time.monotonic()``."""

    action: Callable[[Client], object]
    started: float
    ended: float
    #: What went wrong, in the shop's words; empty for a success.
    failure: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Traffic:
    """A number of requests, shared by clients with a thread and an HTTP connection each."""

    def __init__(self, host: str, port: int, *, clients: int, requests: int) -> None:
        self._address = (host, port)
        self._lock = threading.Lock()
        self._numbers = iter(range(requests))  # guarded by _lock
        self._threads = [
            threading.Thread(target=self._run, name=f"client-{number}", daemon=True)
            for number in range(clients)
        ]
        self._orders: list[dict[str, Any]] = []
        self.requests = requests
        self.outcomes: list[Outcome] = []  # Only appended to, which is atomic.

    def start(self) -> None:
        """Read the orders of the shop, then start all clients at once."""
        with Client(*self._address) as client:
            self._orders = client.export()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        return len(self.outcomes)

    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._numbers = iter(())

    def _run(self) -> None:
        with Client(*self._address) as client:
            while True:
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                self.outcomes.append(self._send(client, number))

    def _send(self, client: Client, number: int) -> Outcome:
        action = MIX[number % len(MIX)]
        # Each group of four requests has an order of its own, so none is paid twice.
        client.order = self._orders[number // 4 % len(self._orders)]
        failure = ""
        started = time.monotonic()
        try:
            action(client)
        except RequestError as error:
            failure = str(error)
        return Outcome(action, started, time.monotonic(), failure)
