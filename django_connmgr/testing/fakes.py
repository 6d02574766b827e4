"""A driver without a server, and a clock."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .._pool.clock import Bell
from .._pool.driver import ConnectionState


class ManualClock:
    """A clock that stands still until ``advance()``: for tests that wait without waiting."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._lock = threading.Lock()
        self._bells: list[Bell] = []  # guarded by _lock
        self._arrivals = threading.Semaphore(0)

    def now(self) -> float:
        return self._now

    def wait(self, bell: Bell, timeout: float) -> None:
        """Return when the bell rings, as ``advance()`` makes it; at once if the time is over."""
        if timeout <= 0:
            bell.wait(0)
            return
        with self._lock:
            self._bells.append(bell)
        self._arrivals.release()
        try:
            bell.wait()
        finally:
            with self._lock:
                self._bells.remove(bell)

    def advance(self, seconds: float) -> None:
        """Move on, and let every waiter look at the time."""
        self._now += seconds
        with self._lock:
            bells = list(self._bells)
        for bell in bells:
            bell.ring()

    def await_waiters(self, count: int = 1) -> None:
        """Block until ``wait()`` was entered ``count`` more times: for ordering threads."""
        for _ in range(count):
            if not self._arrivals.acquire(timeout=30):
                raise AssertionError("No thread came to wait for the clock.")


@dataclass(eq=False, repr=False)
class FakeConnection:
    """A connection to nowhere, with every fault at hand."""

    number: int
    state: ConnectionState = ConnectionState.IDLE
    is_open: bool = True
    is_quiet: bool = True
    is_answering: bool = True
    is_abandoned: bool = False
    rollbacks: int = 0

    def kill(self) -> None:
        """As if the server had hung up while the connection lay idle."""
        self.is_quiet = self.is_answering = False

    def has_news(self) -> bool:
        """Whether something has arrived on the idle socket: bytes, or its end."""
        return not self.is_quiet

    def __repr__(self) -> str:
        return f"<FakeConnection {self.number}>"


class FakeDriver:
    """A driver that records what it did; replace its ``on_*`` hooks to slow or break it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.connections: list[FakeConnection] = []  # guarded by _lock
        self.most_open = 0  # guarded by _lock
        self._pending = 0  # guarded by _lock
        self.checks = 0
        self.resets = 0
        self.on_connect: Callable[[], None] = _ignore
        self.on_check: Callable[[FakeConnection], None] = _ignore
        self.on_rollback: Callable[[FakeConnection], None] = _ignore
        self.on_reset: Callable[[FakeConnection], None] = _ignore
        self.on_close: Callable[[FakeConnection], None] = _ignore
        self.on_kill: Callable[[FakeConnection], None] = _ignore

    def open(self) -> list[FakeConnection]:
        """The connections that are open now."""
        with self._lock:
            return [connection for connection in self.connections if connection.is_open]

    def connect(self, timeout: float) -> FakeConnection:  # noqa: ARG002 - it never blocks
        with self._lock:
            # Counted from the attempt on, as a server counts.
            self._pending += 1
            still_open = sum(connection.is_open for connection in self.connections)
            self.most_open = max(self.most_open, still_open + self._pending)
        connection = None
        try:
            self.on_connect()
            connection = FakeConnection(len(self.connections) + 1)
        finally:
            with self._lock:
                self._pending -= 1
                if connection is not None:
                    self.connections.append(connection)
        return connection

    def look(self, connection: FakeConnection) -> object:
        """The state; with a hook on resets, a value like no other, so that each release resets."""
        return connection.state if self.on_reset is _ignore else object()

    def watch(self, connection: FakeConnection) -> Callable[[], object]:
        return connection.has_news

    def backend_pid(self, connection: FakeConnection) -> int:
        return connection.number

    def check(self, connection: FakeConnection, timeout: float) -> bool:  # noqa: ARG002
        self.checks += 1
        self.on_check(connection)
        if connection.is_answering:
            connection.is_quiet = True
        return connection.is_answering

    def state(self, connection: FakeConnection) -> ConnectionState:
        return connection.state

    def rollback(self, connection: FakeConnection) -> None:
        self.on_rollback(connection)
        connection.rollbacks += 1
        connection.state = ConnectionState.IDLE

    def reset(self, connection: FakeConnection) -> bool:
        self.on_reset(connection)
        self.resets += 1
        return True

    def close(self, connections: Iterable[FakeConnection], *, linger: bool) -> None:  # noqa: ARG002
        for connection in connections:
            self.on_close(connection)
            connection.is_open = False
            connection.state = ConnectionState.UNUSABLE

    def kill(self, connection: FakeConnection) -> None:
        self.on_kill(connection)
        connection.is_open = False
        connection.state = ConnectionState.UNUSABLE

    def abandon(self, connection: FakeConnection) -> None:
        connection.is_abandoned = True

    def is_overloaded(self, error: Exception) -> bool:
        return isinstance(error, ServerFull)


class ServerFull(Exception):
    """Raise it from ``FakeDriver.on_connect``: the server takes no more connections."""


def _ignore(*_: object) -> None: ...
