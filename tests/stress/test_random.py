"""Random actions from many threads, bounded in time; no two users of one connection, nothing lost.

``CONNMGR_TEST_STRESS_SECONDS`` says for how long (default: 10 where ``CI`` is set, else 60).
``CONNMGR_TEST_STRESS_SEED`` repeats the choices of an earlier run, whose seed a failure
prints; threads interleave anew each time all the same.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time

import pytest

from django_connmgr._pool.driver import ConnectionState
from django_connmgr._pool.errors import PoolTimeout, TooManyRequests
from django_connmgr._pool.lease import Lease
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr.testing import FakeConnection, FakeDriver, ServerFull

SECONDS = float(
    os.environ.get("CONNMGR_TEST_STRESS_SECONDS") or ("10" if os.environ.get("CI") else "60")
)
SEED = int(os.environ.get("CONNMGR_TEST_STRESS_SEED") or random.SystemRandom().randrange(10**9))

THREADS = 50
MOST = 8
LEAST = 2

Pool = ConnectionPool[FakeConnection]

pytestmark = [pytest.mark.stress, pytest.mark.timeout(SECONDS + 60)]


class Server:
    """A driver whose server is slow now and then, or full, and counts like one."""

    def __init__(self, seed: int) -> None:
        self.driver = FakeDriver()
        self._random = random.Random(seed)
        self.driver.on_connect = self._connect
        self.driver.on_check = lambda connection: self._dawdle()
        self.driver.on_close = lambda connection: self._dawdle()

    def _connect(self) -> None:
        self._dawdle()
        if self._random.random() < 0.05:
            raise ServerFull("too many clients")
        if self._random.random() < 0.02:
            raise OSError("no route")

    def _dawdle(self) -> None:
        if self._random.random() < 0.2:
            time.sleep(self._random.random() * 0.005)


class Users:
    """Threads that each do one random thing after the other, until the time is over."""

    def __init__(self, pool: Pool, end: float) -> None:
        self._pool = pool
        self._end = end
        self._errors: list[BaseException] = []
        self.actions = 0

    def run(self) -> None:
        """Keep so many threads busy: one that dies with a lease is followed by another."""
        threads: list[threading.Thread] = []
        number = 0
        while time.monotonic() < self._end and not self._errors:
            threads = [thread for thread in threads if thread.is_alive()]
            while len(threads) < THREADS:
                number += 1
                threads.append(threading.Thread(target=self._live, args=(number,), daemon=True))
                threads[-1].start()
            time.sleep(0.002)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), f"{thread} hangs; seed {SEED}"
        if self._errors:
            raise self._errors[0]

    def _live(self, number: int) -> None:
        choices = random.Random(SEED + number)
        try:
            while time.monotonic() < self._end and not self._errors:
                self.actions += 1
                try:
                    if not self._act(choices):
                        return
                except (PoolTimeout, TooManyRequests, ServerFull, OSError):
                    pass
        except BaseException as error:
            self._errors.append(error)

    def _act(self, choices: random.Random) -> bool:
        """One thing; false if the thread is to die now."""
        lease = self._pool.acquire(timeout=choices.choice((0, 0.001, 0.01, 0.5, 5)))
        self._use(lease, choices)
        chance = choices.random()
        if chance < 0.03:
            lease.discard()
        elif chance < 0.06:
            del lease  # As code that forgets.
        elif chance < 0.08:
            cycle: list[object] = [lease]
            cycle.append(cycle)
        elif chance < 0.10:
            self._lingering = lease  # The thread dies, and others still see its lease.
            return False
        else:
            if chance < 0.15:
                lease.connection.state = ConnectionState.IN_TRANSACTION
            elif chance < 0.17:
                lease.connection.state = ConnectionState.UNUSABLE
            connection = lease.connection
            lease.release(is_warm=choices.random() < 0.5)
            if chance > 0.98:
                connection.kill()
        return True

    def _use(self, lease: Lease[FakeConnection], choices: random.Random) -> None:
        """Put our stamp on the connection, and see that it stays ours alone."""
        connection = lease.connection
        assert connection.is_open, f"a closed connection was lent; seed {SEED}"
        assert connection.state is ConnectionState.IDLE, f"an unclean one was lent; seed {SEED}"
        stamp = object()
        connection.stamp = stamp  # type: ignore[attr-defined]
        for _ in range(choices.randrange(3)):
            time.sleep(choices.random() * 0.001)
            assert connection.stamp is stamp, f"two had it at once; seed {SEED}"  # type: ignore[attr-defined]
        assert connection.is_open, f"it was closed under its holder; seed {SEED}"


class Steering:
    """A thread that turns every knob, and looks at the numbers all the time."""

    def __init__(self, pool: Pool, end: float) -> None:
        self._pool = pool
        self._end = end
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._errors: list[BaseException] = []
        self._thread.start()

    def _run(self) -> None:
        choices = random.Random(SEED)
        try:
            while time.monotonic() < self._end:
                chance = choices.random()
                if chance < 0.05:
                    self._pool.recycle()
                elif chance < 0.10:
                    size = choices.randint(1, MOST)
                    self._pool.resize(size, min_size=min(size, LEAST))
                elif chance < 0.13:
                    self._pool.suspend()
                    time.sleep(choices.random() * 0.005)
                    self._pool.resume()
                elif chance < 0.3:
                    self._pool.maintain()
                elif chance < 0.31:
                    gc.collect(1)
                else:
                    self._look()
                time.sleep(choices.random() * 0.002)
        except BaseException as error:
            self._errors.append(error)

    def _look(self) -> None:
        stats = self._pool.stats()
        assert stats.size == stats.connecting + stats.idle + stats.leased + stats.maintenance
        assert stats.size <= MOST
        assert stats.connecting <= 3

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), f"hangs; seed {SEED}"
        if self._errors:
            raise self._errors[0]


def _is_at_rest(pool: Pool) -> bool:
    stats = pool.stats()
    return not stats.connecting and not stats.leased


def test_random_actions_of_many_threads_leave_the_pool_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print(f"\nCONNMGR_TEST_STRESS_SEED={SEED}", end=" ")  # noqa: T201 - to repeat a failure
    server = Server(SEED)
    limits = Limits(
        max_size=MOST,
        min_size=LEAST,
        max_connecting=3,
        max_waiting=40,
        max_idle=0.05,
        max_lifetime=0.5,
        keepalive=0.02,
        check_after=0.01,
        reap_interval=0.05,
    )
    pool: Pool = ConnectionPool("stress", server.driver, limits)
    end = time.monotonic() + SECONDS
    steering = Steering(pool, end)
    users = Users(pool, end)
    users.run()
    steering.join()
    del users._lingering
    gc.collect()

    pool.resize(MOST, min_size=LEAST)
    server.driver.on_connect = lambda: None
    end = time.monotonic() + 10
    while not _is_at_rest(pool) and time.monotonic() < end:
        time.sleep(0.001)  # The background thread leases what it opens towards min_size.
    stats = pool.stats()
    assert (stats.leased, stats.connecting, stats.waiting) == (0, 0, 0), f"seed {SEED}"
    # Whatever is left works, and all of it can be had at once.
    leases = [pool.acquire(timeout=5) for _ in range(MOST)]
    assert pool.stats().leased == MOST
    assert {lease.connection for lease in leases} == set(server.driver.open())
    assert server.driver.most_open <= MOST
    for lease in leases:
        lease.release()
    pool.close()
    # The background thread may be closing one of them right now.
    end = time.monotonic() + 10
    while pool.stats().size and time.monotonic() < end:
        time.sleep(0.001)
    assert server.driver.open() == []
    assert users.actions > 0
