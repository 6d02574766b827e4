"""What the unit tests share: threads that report back, clocks and locks that follow a script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django_connmgr._pool.clock import Bell
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
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


def borrow(
    pool: Pool,
    timeout: float | None = None,
    *,
    is_warm: bool = False,
    scope: Scope | None = None,
) -> FakeConnection:
    """Acquire and release; returns what it had."""
    lease = pool.acquire(timeout, scope=scope)
    connection = lease.connection
    lease.release(is_warm=is_warm)
    return connection


def keep(pool: Pool, lease: Any) -> bool:
    """Keep a lease for the unit of work that it belongs to."""
    return pool.keep(lease, lease.slot and lease.slot.scope)


def fill(pool: Pool, count: int) -> list[FakeConnection]:
    """Leave ``count`` cold connections behind, the longest idle one first."""
    leases = [pool.acquire() for _ in range(count)]
    connections = [lease.connection for lease in leases]
    for lease in leases:
        lease.release()
    return connections


class Borrower(Worker):
    """A thread that acquires a connection and holds it until it is told to give it back."""

    def __init__(
        self,
        pool: Pool,
        timeout: float | None = None,
        *,
        is_warm: bool = False,
        scope: Scope | None = None,
        name: str = "borrower",
    ) -> None:
        self._served = threading.Event()
        self._may_release = threading.Event()
        self._released = threading.Event()
        self._may_end = threading.Event()
        self._connection: FakeConnection | None = None
        super().__init__(lambda: self._borrow(pool, timeout, scope, is_warm=is_warm), name)

    def _borrow(
        self, pool: Pool, timeout: float | None, scope: Scope | None, *, is_warm: bool
    ) -> None:
        try:
            lease = pool.acquire(timeout, scope=scope)
            self._connection = lease.connection
        finally:
            self._served.set()
        assert self._may_release.wait(PATIENCE)
        lease.release(is_warm=is_warm)
        self._released.set()
        assert self._may_end.wait(PATIENCE)

    def await_served(self) -> FakeConnection:
        assert self._served.wait(PATIENCE), "was never served"
        if self._connection is None:
            self._may_end.set()
            self.result()
        assert self._connection is not None
        return self._connection

    def release(self) -> None:
        """Have it release what it has, and live on."""
        self.await_served()
        self._may_release.set()
        assert self._released.wait(PATIENCE)

    def give_back(self) -> None:
        """Wait until it is served, for the release after that, and for its end."""
        self.await_served()
        self._may_release.set()
        self._may_end.set()
        self.result()


def picture(pool: Pool) -> dict[str, int]:
    """Where the pool's slots are, and how many wait: ``{"idle": 2, "warm": 1, "leased": 2}``.

    ``warm`` is how many of the idle ones are.
    """
    stats = pool.stats()
    numbers = {
        state: getattr(stats, state)
        for state in ("connecting", "idle", "warm", "leased", "maintenance", "waiting")
        if getattr(stats, state)
    }
    assert stats.size == sum(numbers.values()) - stats.waiting - stats.warm
    return numbers


class ScriptedClock(ManualClock):
    """A clock that, when a thread comes to wait, does the next step of ``script`` first.

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
    """Takes the place of a pool's lock and does ``before[n]`` right before its nth taking.

    What a step itself does with the pool does not count. ``takings`` is how often the lock was
    taken.
    """

    def __init__(self, pool: Pool, before: dict[int, Callable[[], object]] | None = None) -> None:
        lock: Any = pool._lock
        self._inner = lock._inner if isinstance(lock, ScriptedLock) else lock
        self._before = before or {}
        self.takings = 0
        self._is_busy = False
        pool._lock = pool._core.lock = self  # type: ignore[assignment]

    def __enter__(self) -> None:
        if not self._is_busy:
            self.takings += 1
            step = self._before.pop(self.takings, None)
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
