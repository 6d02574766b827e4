"""An exception at any line, and real signals at any moment: the pool stays whole."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from django_connmgr import PoolTimeout, _pool
from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeDriver, ManualClock

from .helpers import Pool, Worker, picture

ROOM = Path(_pool.__file__).parent
#: Where it strikes: in all that holds a slot or a lease, or changes who does.
FILES = {
    str(ROOM / f"{name}.py")
    for name in ("ledger", "owner", "pool", "slot", "upkeep", "waiters", "workshop")
}
#: File and line of each ``with`` statement.
BLOCKS = {
    (file, number)
    for file in FILES
    for number, line in enumerate(Path(file).read_text().splitlines(), 1)
    if line.lstrip().startswith("with ")
}


class Fault(BaseException):
    """What no code expects."""


@pytest.fixture(autouse=True)
def _faults_in_finalisers_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python swallows what strikes a finaliser, and says so."""
    hook = sys.unraisablehook

    def let_faults_pass(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Fault):
            hook(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", let_faults_pass)


class Injector:
    """Raises ``Fault`` at the nth line that runs in the pool's files."""

    def __init__(self, pool: Pool, number: int) -> None:
        self._pool = pool
        self._lines_left = number
        self._previous: tuple[CodeType, int] | None = None
        #: Where it struck.
        self.place = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line" and not self.place and self._may_strike(frame):
            self._lines_left -= 1
            if self._lines_left == 0:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                raise Fault
        return self

    def _may_strike(self, frame: FrameType) -> bool:
        here = (frame.f_code, frame.f_lineno)
        # CPython 3.13 skips handlers if a tracer raises while a comprehension goes round.
        is_going_round, self._previous = here == self._previous, here
        # And no CPython raises between the end of a block and the release of its lock.
        is_at_block = (frame.f_code.co_filename, frame.f_lineno) in BLOCKS
        return not is_going_round and not (is_at_block and self._pool._lock.locked())


def connect_and_release(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    pool.checkout().release()
    lease = pool.checkout()
    lease.connection.state = ConnectionState.IN_TRANSACTION
    lease.release()


def drop(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    lease = pool.checkout()
    del lease
    pool.checkout().discard()


def time_out(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    leases = [pool.checkout(), pool.checkout()]
    try:
        pool.checkout(timeout=0)
    except PoolTimeout:
        pass
    for lease in leases:
        lease.release()


def fail_to_connect(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    driver.on_connect = lambda: 1 / 0
    try:
        pool.checkout()
    except ZeroDivisionError:
        pass
    finally:
        driver.on_connect = lambda: None


def find_dead_ones(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    leases = [pool.checkout(), pool.checkout()]
    for lease in leases:
        lease.release()
    for connection in driver.open():
        connection.kill()
    pool.checkout().release()


def look_after(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    pool.checkout().release()
    clock.advance(10)
    pool.maintain()
    clock.advance(1000)
    pool.maintain()


def steer(pool: Pool, driver: FakeDriver, clock: ManualClock) -> None:
    leases = [pool.checkout(), pool.checkout()]
    pool.recycle()
    for lease in leases:
        lease.release()
    pool.drain(timeout=0)
    pool.resize(1)
    pool.resize(2)


@pytest.mark.parametrize(
    "scenario",
    [connect_and_release, drop, time_out, fail_to_connect, find_dead_ones, look_after, steer],
    ids=lambda scenario: scenario.__name__,
)
def test_after_an_exception_at_any_line_the_pool_is_whole(
    scenario: Callable[[Pool, FakeDriver, ManualClock], None],
) -> None:
    """Every slot comes back, whatever happens to whom at which point.

    In a thread of its own: when a tracer raises inside an ``except`` clause, CPython goes on
    handling the first exception for as long as the thread lives, and keeps its frames.
    """
    Worker(lambda: strike_everywhere(scenario)).result()


def strike_everywhere(scenario: Callable[[Pool, FakeDriver, ManualClock], None]) -> None:
    number, has_struck = 0, True
    while has_struck:
        number += 1
        driver, clock = FakeDriver(), ManualClock()
        limits = Limits(
            max_size=2,
            min_size=1,
            max_idle=100,
            keepalive=5,
            max_lifetime=500,
            reap_interval=0,
            fair_after=0,  # The clock stands still, so nobody would ever become old.
        )
        pool = ConnectionPool("test", driver, limits, clock=clock)
        injector = Injector(pool, number)
        strike(injector, scenario, pool, driver, clock)
        gc.collect()
        assert_whole(pool, driver, injector.place)
        has_struck = bool(injector.place)
    assert number > 20


def strike(injector: Injector, function: Callable[..., None], *args: object) -> None:
    previous = sys.gettrace()
    sys.settrace(injector)
    try:
        function(*args)
    except Fault:
        pass
    finally:
        sys.settrace(previous)


def assert_whole(pool: Pool, driver: FakeDriver, place: str) -> None:
    if pool._lock.locked():
        pool._lock.release()  # Or else no report of this failure could be written.
        pytest.fail(f"The lock is held since {place}.")
    while pool.has_orphans() or pool.stats().waiting:
        pool.stats()
    pool.resize(2)
    assert set(picture(pool)) <= {"idle"}, place
    pool.recycle()
    assert (picture(pool), driver.open()) == ({}, []), place
    leases = [pool.checkout(timeout=0), pool.checkout(timeout=0)]
    assert picture(pool) == {"leased": 2}
    assert {lease.connection for lease in leases} == set(driver.open())
    assert driver.most_open <= 2
    for lease in leases:
        lease.release()
    assert picture(pool) == {"idle": 2}
    pool.close()
    assert (picture(pool), driver.open()) == ({}, [])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_pool_of_one_survives_a_storm_of_signals() -> None:
    """Handlers raise wherever Python runs them: one slot lost and nobody would get any.

    In a process of its own, because they also raise inside of whatever else runs there.
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.unit.storm"],
        cwd=ROOM.parent.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
