"""What the unit tests share: threads that report back, clocks and locks that follow a script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django_connmgr._pool.clock import Bell
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeConnection, ManualClock

Pool = ConnectionPool[FakeConnection]

#: Longer than anything takes that does not hang.
PATIENCE = 60


class Worker:
    """A thread that runs ``function`` and keeps what it returned or raised."""

    def __init__(self, function: Callable[[], Any], name: str = "worker") -> None:
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        finally:
            del self._function

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"{self._thread.name} hangs"

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
        value, self._value = self._value, None
        return value


def borrow(pool: Pool, timeout: float | None = None) -> FakeConnection:
    """Check out and release; returns what it had."""
    lease = pool.checkout(timeout)
    connection = lease.connection
    lease.release()
    return connection


class Borrower(Worker):
    """A thread that checks a connection out and holds it until it is told to give it back."""

    def __init__(self, pool: Pool, timeout: float | None = None) -> None:
        self._served = threading.Event()
        self._may_end = threading.Event()
        self._connection: FakeConnection | None = None
        super().__init__(lambda: self._borrow(pool, timeout), "borrower")

    def _borrow(self, pool: Pool, timeout: float | None) -> None:
        try:
            lease = pool.checkout(timeout)
            self._connection = lease.connection
        finally:
            self._served.set()
        assert self._may_end.wait(PATIENCE)
        lease.release()

    def await_served(self) -> FakeConnection:
        assert self._served.wait(PATIENCE), "was never served"
        if self._connection is None:
            self.result()
        assert self._connection is not None
        return self._connection

    def give_back(self) -> None:
        """Wait until it is served, and for the release after that."""
        self.await_served()
        self._may_end.set()
        self.result()


def picture(pool: Pool) -> dict[str, int]:
    """Where the pool's slots are, and how many wait: ``{"idle": 1, "leased": 2}``."""
    stats = pool.stats()
    numbers = {
        state: getattr(stats, state)
        for state in ("connecting", "idle", "leased", "maintenance", "waiting")
        if getattr(stats, state)
    }
    assert stats.size == sum(numbers.values()) - stats.waiting
    return numbers


class ScriptedClock(ManualClock):
    """A clock that, when somebody comes to wait, does the next step of ``script`` first.

    After the last step a wait returns at once, like one that ended without a ring.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Callable[[], None]] = []
        #: Whether each wait was ended by its bell.
        self.rang: list[bool] = []

    def wait(self, bell: Bell, timeout: float) -> None:
        if self.script:
            self.script.pop(0)()
        self.rang.append(bell.wait(0))


class ScriptedLock:
    """Takes the place of a pool's lock and does ``before[n]`` right before its nth taking."""

    def __init__(self, pool: Pool, before: dict[int, Callable[[], None]]) -> None:
        self._inner = pool._lock
        self._before = before
        self._takings = 0
        self._is_busy = False
        pool._lock = self  # type: ignore[assignment]

    def __enter__(self) -> None:
        if not self._is_busy:
            self._takings += 1
            step = self._before.pop(self._takings, None)
            if step is not None:
                self._is_busy = True
                try:
                    step()
                finally:
                    self._is_busy = False
        self._inner.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._inner.release()

    def locked(self) -> bool:
        return self._inner.locked()
