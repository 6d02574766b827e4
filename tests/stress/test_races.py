"""Owners, waiters and the ends of units race for the same connections: each has one user."""

from __future__ import annotations

import gc
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from django_connmgr._pool.lease import Lease
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.slot import Slot
from django_connmgr.backends.sqlite3.base import DatabaseWrapper
from django_connmgr.testing import FakeConnection, FakeDriver
from django_connmgr.units.current import current_unit
from django_connmgr.units.unit import Unit

pytestmark = pytest.mark.stress

#: Whichever comes first, for each test.
SECONDS = 4.0
STEPS = 1_000_000


class Race:
    """Threads that take steps until there were enough; the first error ends it."""

    def __init__(self, seed: int) -> None:
        sys.stdout.write(f"seed {seed}\n")
        self._seed = seed
        self._end = time.monotonic() + SECONDS
        self._count = itertools.count()
        self.steps = 0
        self.error: BaseException | None = None
        #: Who uses which connection, by its identity: a stamp on each use.
        self.users: dict[int, object] = {}

    def run(self, *players: Callable[[random.Random], Callable[[], None]]) -> None:
        threads = [
            threading.Thread(target=self._play, args=(player, number))
            for number, player in enumerate(players)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
            assert not thread.is_alive(), "a thread sleeps for ever"
        sys.stdout.write(f"{self.steps} steps\n")
        if self.error is not None:
            raise self.error

    def _play(self, player: Callable[[random.Random], Callable[[], None]], number: int) -> None:
        try:
            step = player(random.Random(self._seed + number))
            while self.error is None and time.monotonic() < self._end:
                self.steps = next(self._count)
                if self.steps >= STEPS:
                    break
                step()
        except BaseException as error:
            self.error = error

    def use(self, connection: object) -> None:
        me = object()
        key = id(connection)
        assert self.users.setdefault(key, me) is me, "another thread is using it"
        for _ in range(3):  # Time for others to come in.
            assert self.users[key] is me
        del self.users[key]


@pytest.fixture
def race() -> Race:
    return Race(random.randrange(2**32))


def test_no_connection_has_two_users_and_none_is_lost(  # noqa: C901 - many actions
    race: Race,
) -> None:
    """Owners leave theirs warm, keep them or give them back; others take the warm ones."""
    driver = FakeDriver()
    pool: ConnectionPool[FakeConnection] = ConnectionPool(
        "test", driver, Limits(max_size=2, timeout=30, reap_interval=0.0)
    )
    unit = [Unit("first")]

    def owner(rng: random.Random) -> Callable[[], None]:
        kept: list[Lease[FakeConnection]] = []
        warm: list[Slot[FakeConnection]] = []

        def lease_one() -> Lease[FakeConnection]:
            # As a wrapper does: what is kept, what is warm, or another one.
            if kept:
                lease = kept.pop()
                if pool.use(lease):
                    return lease
            found = pool.retake(warm[0]) if warm else None
            return found or pool.acquire(scope=unit[0].scope)

        def step() -> None:
            lease = lease_one()
            race.use(lease.connection)
            slot = lease.slot
            assert slot is not None
            warm[:] = [slot]
            chance = rng.random()
            if chance < 0.05 and pool.keep(lease, lease.slot and lease.slot.scope):
                kept.append(lease)
                # Nobody may sit on a connection for ever, or the others could only wait.
                if rng.random() < 0.5:
                    lease = lease_one()
                    race.use(lease.connection)
                    lease.release()
            elif chance < 0.15:
                lease.release()
            elif chance < 0.2:
                lease.release(is_warm=True)
                pool.cool(slot)
            elif chance < 0.22:
                del lease  # As code that forgets.
            else:
                lease.release(is_warm=True)

        return step

    def ender(rng: random.Random) -> Callable[[], None]:
        def step() -> None:
            old, unit[0] = unit[0], Unit("next")
            old.end()
            time.sleep(rng.random() / 1000)

        return step

    race.run(*[owner] * 6, ender)
    unit[0].end()
    gc.collect()
    pool.maintain()
    stats = pool.stats()
    assert (stats.idle, stats.warm, stats.size, driver.most_open) == (2, 0, 2, 2)
    assert (stats.timeouts, stats.waiting) == (0, 0)
    assert stats.waits > 0
    assert stats.reaped > 0
    pool.close()


def test_wrappers_that_do_everything_never_meet_on_a_connection(  # noqa: C901 - many actions
    race: Race, tmp_path: Any, django_db_blocker: Any
) -> None:
    """Cursors closed, dropped, collected elsewhere; transactions, blocks and ends of units."""
    settings = {
        **connections["file"].settings_dict,
        "NAME": str(tmp_path / "race.sqlite3"),
        "OPTIONS": {"pool": {"max_size": 3, "timeout": 30}},
    }
    rubbish: list[Any] = []
    ending: list[threading.Thread] = []

    def player(rng: random.Random) -> Callable[[], None]:
        wrapper = DatabaseWrapper(settings, "race")
        current_unit.set(Unit("mine"))

        borrower = wrapper.borrower

        def query() -> None:
            with wrapper.cursor() as cursor:
                race.use(wrapper.connection)
                cursor.execute("SELECT 1")
                race.use(wrapper.connection)

        def drop() -> None:
            cursor = wrapper.cursor()
            race.use(wrapper.connection)
            del cursor

        def leave_to_the_collector() -> None:
            cycle: list[Any] = [wrapper.cursor()]
            cycle.append(cycle)
            race.use(wrapper.connection)

        def leave_to_another() -> None:
            rubbish.append(wrapper.cursor())
            race.use(wrapper.connection)

        def transact() -> None:
            wrapper.set_autocommit(False)
            try:
                query()
                race.use(wrapper.connection)
            finally:
                wrapper.rollback()
                wrapper.set_autocommit(True)

        def block() -> None:
            borrower.enter_block(None)
            try:
                raw = wrapper.connection
                query()
                assert wrapper.connection is raw
                race.use(raw)
            finally:
                borrower.exit_block()

        def change_unit() -> None:
            unit = current_unit.get()
            assert unit is not None
            current_unit.set(Unit("next"))
            thread = threading.Thread(target=unit.end)
            thread.start()
            ending.append(thread)

        actions = [query] * 8 + [drop] * 3 + [transact, block, block, change_unit]
        actions += [leave_to_the_collector, leave_to_another]
        actions += [borrower.release, wrapper.close, wrapper.commit, wrapper.ensure_connection]

        def step() -> None:
            rng.choice(actions)()
            if rng.random() < 0.3:
                # Nobody may sit on a connection for ever, or the others could only wait.
                rubbish.clear()
                borrower.release()

        return step

    django_db_blocker.unblock()
    try:
        race.run(*[player] * 6)
        rubbish.clear()
        gc.collect()
        pool = DatabaseWrapper(settings, "race").connection_pool
        assert pool is not None
        for thread in ending:
            thread.join(10)
        pool.maintain()
        stats = pool.stats()
        assert (stats.leased, stats.warm, stats.timeouts, stats.waiting) == (0, 0, 0, 0)
        assert stats.idle == stats.size
        assert stats.waits > 0
    finally:
        DatabaseWrapper(settings, "race").close_pool()
        django_db_blocker.restore()
