"""What a query pays does not grow with the pool or the queue: no loop over them under the lock.

Counted in bytecodes of the pool's own files, which do not depend on the machine or its load.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from django_connmgr import _pool
from django_connmgr._pool.lease import Lease
from django_connmgr._pool.owner import Owner, here
from django_connmgr._pool.scope import Scope
from django_connmgr._pool.waiter import Waiter
from django_connmgr.testing import FakeConnection, ManualClock

from .conftest import MakePool
from .helpers import Pool, keep

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="Python 3.11 counts no bytecodes."
)

FEW, MANY = 10, 1000
#: Hashing and the like may differ a little; a loop would make it a hundred times as much.
MOST = 1.5

ROOM = str(Path(_pool.__file__).parent)

Action = Callable[[], object]


def count(action: Action) -> int:
    """Bytecodes of the pool's files that ``action`` runs; not the background thread's meanwhile."""
    monitoring = sys.monitoring
    total = 0
    this_thread = threading.get_ident()

    def note(code: CodeType, offset: int) -> None:
        nonlocal total
        total += threading.get_ident() == this_thread and code.co_filename.startswith(ROOM)

    monitoring.use_tool_id(monitoring.PROFILER_ID, "test_costs")
    try:
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION, note)
        monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.INSTRUCTION)
        action()
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    assert total > 10, "Nothing was counted."
    return total


def lease_many(pool: Pool, number: int) -> list[Lease[FakeConnection]]:
    """Leases of as many other owners, who live."""
    leases = []
    for _ in range(number):
        lease = pool.acquire()
        slot: Any = lease.slot
        here.owner.held.pop(slot)
        slot.owner = Owner()
        slot.owner.held[slot] = None
        leases.append(lease)
    return leases


def acquire_and_release(pool: Pool, *, is_warm: bool = False) -> Action:
    return lambda: pool.acquire(timeout=0).release(is_warm=is_warm)


def among_cold(pool: Pool, number: int) -> Action:
    for lease in lease_many(pool, number):
        lease.release()
    return acquire_and_release(pool)


def among_warm(pool: Pool, number: int) -> Action:
    """The pool is full, so it takes the one that lay longest."""
    for lease in lease_many(pool, number):
        lease.release(is_warm=True)
    pool.resize(number)
    return acquire_and_release(pool)


def among_leased(pool: Pool, number: int) -> Action:
    leases = lease_many(pool, number)
    leases.pop().release()
    action = acquire_and_release(pool)
    return lambda: (action(), leases)


def a_new_one(pool: Pool, number: int) -> Action:
    leases = lease_many(pool, number)
    return lambda: (pool.acquire(timeout=0).discard(), leases)


def its_own_warm(pool: Pool, number: int) -> Action:
    for lease in lease_many(pool, number):
        lease.release(is_warm=True)
    lease = pool.acquire()
    slot: Any = lease.slot
    lease.release(is_warm=True)

    def action() -> None:
        lease = pool.retake(slot)
        assert lease is not None
        pool.rest(lease, lease.slot)
        assert pool.cool(slot)

    return action


def kept_in_a_unit(pool: Pool, number: int) -> Action:
    for lease in lease_many(pool, number):
        lease.release(is_warm=True)
    scope = Scope("GET /")

    def action() -> None:
        lease = pool.acquire(timeout=0, scope=scope)
        keep(pool, lease)
        pool.use(lease)
        keep(pool, lease)
        scope.end()

    return action


@pytest.mark.parametrize(
    "prepare",
    [among_cold, among_warm, among_leased, a_new_one, its_own_warm, kept_in_a_unit],
    ids=lambda prepare: prepare.__name__,
)
def test_it_costs_the_same_among_few_slots_and_among_many(
    make_pool: MakePool, prepare: Callable[[Pool, int], Action]
) -> None:
    few, many = (
        count(prepare(make_pool(max_size=None, max_connecting=2000), number))
        for number in (FEW, MANY)
    )
    assert many <= few * MOST, (few, many)


class Queue:
    """Waiters that came so far as into the queue, as threads that sleep from then on."""

    def __init__(self, pool: Pool, clock: ManualClock, number: int) -> None:
        self.pool, self.clock = pool, clock
        self.waiters: list[Waiter] = []
        self.leases: list[Lease[FakeConnection]] = []
        self.lease = pool.acquire()
        for _ in range(number):
            self.join()

    def join(self) -> None:
        lease: Lease[FakeConnection] = Lease(self.pool)
        with self.pool._lock:
            waiter = self.pool._state.acquire_locked(lease, Owner(), None, self.clock.now(), 5.0)
        assert waiter is not None
        self.waiters.append(waiter)
        self.leases.append(lease)

    def serve_one(self) -> None:
        """A hand-over to the first waiter, and on to the next."""
        self.lease.release()
        self.leases[0].release()
        assert self.leases[1].is_held()

    def give_up(self) -> None:
        """The one in the middle."""
        waiter = self.waiters[len(self.waiters) // 2]
        with self.pool._lock:
            self.pool._state.withdraw_locked(waiter, self.clock.now())

    def look_again(self) -> None:
        with self.pool._lock:
            self.pool._state.look_again_locked(self.waiters[0], self.clock.now())

    def clear(self) -> None:
        self.pool._state.waiters.clear()
        self.pool._state.lost.first = None


@pytest.mark.parametrize(
    "act",
    [Queue.serve_one, Queue.join, Queue.give_up, Queue.look_again],
    ids=lambda act: act.__name__,
)
def test_it_costs_the_same_with_few_waiters_and_with_many(
    make_pool: MakePool, clock: ManualClock, act: Callable[[Queue], None]
) -> None:
    numbers = []
    for waiting in (2, MANY):
        queue = Queue(make_pool(max_size=1), clock, waiting)
        numbers.append(count(lambda queue=queue: act(queue)))
        queue.clear()
        del queue
    few, many = numbers
    assert many <= few * MOST, (few, many)
