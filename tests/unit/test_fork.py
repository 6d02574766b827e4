"""What a forked child finds, with the hook that the package registers itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

import pytest

from django_connmgr._pool.errors import PoolError
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.owner import here
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.reaper import reaper
from django_connmgr._pool.scope import Scope
from django_connmgr.backends import wrapper  # noqa: F401 - registers the hook
from django_connmgr.registry import Address, registry
from django_connmgr.testing import FakeDriver

from .helpers import PATIENCE, Borrower, Pool, Worker, borrow, keep, picture

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()"),
    # Python 3.12 and later warn of exactly what is tested here.
    pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning"),
]


FORKED = Address("forked", "", "")


@pytest.fixture
def pool(driver: FakeDriver) -> Iterator[Pool]:
    """A pool of this process, known to the registry."""
    made: Pool = ConnectionPool("forked", driver, Limits(max_size=2, reap_interval=0))
    registry.get_or_make(FORKED, lambda: made)
    yield made
    registry.close("forked")
    assert picture(made) == {}


def in_child(function: Callable[[], object]) -> str:
    """What ``function`` returns in a forked child, or its traceback, as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(10)  # It ends the child, should that hang.
            try:
                answer = str(function())
            except BaseException:
                answer = traceback.format_exc()
            os.write(writing, answer.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"The child ended with status {status}: it hung."
    return answer


def test_the_child_starts_empty_and_touches_nothing_of_its_parent_s(
    pool: Pool, driver: FakeDriver
) -> None:
    """No inherited socket is used or shut down."""
    lease = pool.acquire()
    borrow(pool)
    before = picture(pool)

    def look() -> object:
        inherited = list(driver.connections)
        empty = picture(pool)
        own = borrow(pool)
        return (
            empty,
            own in inherited,
            [connection.is_abandoned for connection in inherited],
            [connection.is_open for connection in inherited],
            picture(pool),
        )

    assert in_child(look) == str(({}, False, [True, True], [True, True], {"idle": 1}))
    assert picture(pool) == before == {"idle": 1, "leased": 1}
    assert [connection.is_abandoned for connection in driver.connections] == [False, False]
    lease.release()


def test_a_lease_is_lost_in_the_child_and_fine_in_the_parent(pool: Pool) -> None:
    lease = pool.acquire()

    def use() -> object:
        assert not lease.is_held()
        for end in (lease.release, lease.discard, lambda: lease.connection):
            with pytest.raises(PoolError, match="the process forked"):
                end()
        return picture(pool)

    assert in_child(use) == "{}"
    assert lease.is_held()
    lease.release()
    assert picture(pool) == {"idle": 1}


def test_a_lease_that_is_dropped_in_the_child_gives_nothing_back(pool: Pool) -> None:
    leases = [pool.acquire()]

    def drop() -> object:
        leases.clear()
        return pool.has_lost(), borrow(pool) is not None, picture(pool)

    assert in_child(drop) == str((False, True, {"idle": 1}))
    leases[0].release()


def test_leases_of_threads_that_the_child_does_not_have_are_gone(pool: Pool) -> None:
    other = Borrower(pool)
    other.await_served()
    assert in_child(lambda: (picture(pool), borrow(pool).number)) == str(({}, 2))
    other.give_back()


def test_fork_while_another_thread_has_the_lock(pool: Pool) -> None:
    """Fifty times, so that no luck is needed where the lock is not all that matters."""
    borrow(pool)
    for _ in range(50):
        taken, may_end = threading.Event(), threading.Event()

        def hold(taken: threading.Event = taken, may_end: threading.Event = may_end) -> None:
            with pool._lock:
                taken.set()
                may_end.wait(PATIENCE)

        holder = Worker(hold)
        assert taken.wait(PATIENCE)
        answer = in_child(lambda: (borrow(pool).is_abandoned, picture(pool)))
        may_end.set()
        holder.join()
        assert answer == str((False, {"idle": 1}))
    assert picture(pool) == {"idle": 1}


def test_fork_while_other_threads_use_the_pool(pool: Pool, driver: FakeDriver) -> None:
    """Wherever they are at that moment."""
    is_over = threading.Event()

    def use() -> None:
        while not is_over.is_set():
            borrow(pool)

    workers = [Worker(use) for _ in range(4)]
    try:
        for _ in range(50):
            # Not the pool's matter: the fake has a lock of its own, and a child of its own.
            answer = in_child(lambda: (setattr(pool, "driver", FakeDriver()), borrow_all(pool))[1])
            assert answer == str({"idle": 2})
    finally:
        is_over.set()
        for worker in workers:
            worker.result()
    assert driver.most_open <= 2


def borrow_all(pool: Pool) -> dict[str, int]:
    leases = [pool.acquire(timeout=0), pool.acquire(timeout=0)]
    for lease in leases:
        lease.release()
    return picture(pool)


def test_fork_while_another_thread_connects(pool: Pool, driver: FakeDriver) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        assert may_go_on.wait(PATIENCE)

    driver.on_connect = block
    other = Borrower(pool)
    assert entered.wait(PATIENCE)

    def use() -> object:
        driver.on_connect = lambda: None
        return picture(pool), borrow(pool).number, picture(pool)

    assert in_child(use) == str(({}, 1, {"idle": 1}))
    may_go_on.set()
    other.give_back()
    assert picture(pool) == {"idle": 1}


def test_fork_while_another_thread_waits(pool: Pool) -> None:
    """The child inherits no place in the line."""
    leases = [pool.acquire(), pool.acquire()]
    other = Borrower(pool)
    while not pool.stats().waiting:
        pass
    assert in_child(lambda: (picture(pool), borrow_all(pool))) == str(({}, {"idle": 2}))
    for lease in leases:
        lease.release()
    other.give_back()


def test_what_is_warm_in_the_parent_is_not_in_the_child(pool: Pool, driver: FakeDriver) -> None:
    scope = Scope("GET /")
    leases = [pool.acquire(scope=scope), pool.acquire(scope=scope)]
    slot = leases[0].slot
    assert slot is not None
    leases[0].release(is_warm=True)
    keep(pool, leases[1])

    def use() -> object:
        retaken = pool.retake(slot)
        used, went = pool.use(leases[1]), scope.end()
        own = borrow(pool)
        return retaken, used, went, own.is_abandoned, slot in here.owner.held, picture(pool)

    assert in_child(use) == str((None, False, 0, False, False, {"idle": 1}))
    assert picture(pool) == {"idle": 1, "warm": 1, "leased": 1}
    assert scope.end() == 2
    assert picture(pool) == {"idle": 2}


def test_a_report_that_was_pending_at_the_fork_is_not_the_child_s(pool: Pool) -> None:
    borrow(pool)
    leases = [pool.acquire()]
    leases.clear()
    assert pool.has_lost()
    assert in_child(lambda: (pool.has_lost(), picture(pool), borrow_all(pool))) == str(
        (False, {}, {"idle": 2})
    )
    assert pool.has_lost()
    pool.maintain()
    assert picture(pool) == {"idle": 1}


def test_a_thread_of_the_child_may_die_holding_as_anywhere(pool: Pool) -> None:
    def use() -> object:
        keep = Worker(pool.acquire).result()
        pool.maintain()
        return picture(pool), keep.is_held()

    assert in_child(use) == str(({"idle": 1}, False))


def test_the_child_starts_its_own_reaper_when_it_uses_a_pool(driver: FakeDriver) -> None:
    made: Pool = ConnectionPool("forked", driver, Limits(reap_interval=60))
    registry.get_or_make(FORKED, lambda: made)
    borrow(made)

    def use() -> object:
        before = [thread.name for thread in threading.enumerate()]
        borrow(made)
        after = [thread.name for thread in threading.enumerate()]
        return before, after

    assert in_child(use) == str((["MainThread"], ["MainThread", "django-connmgr-reaper"]))
    registry.close("forked")


def test_the_registry_s_lock_is_not_inherited(pool: Pool) -> None:
    taken, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with registry._lock, reaper._lock:
            taken.set()
            may_end.wait(PATIENCE)

    holder = Worker(hold)
    assert taken.wait(PATIENCE)

    def use() -> object:
        made: Pool = ConnectionPool("child", FakeDriver(), Limits(reap_interval=60))
        known = registry.get_or_make(Address("child", "", ""), lambda: made)
        borrow(known)
        registry.close("child")
        return picture(known)

    answer = in_child(use)
    may_end.set()
    holder.join()
    assert answer == "{}"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork()")
def test_a_grandchild_starts_empty_too(pool: Pool) -> None:
    borrow(pool)
    assert in_child(lambda: (borrow(pool), in_child(lambda: picture(pool)))[1]) == "{}"
