from __future__ import annotations

import threading
from queue import Queue

import pytest

from django_connmgr._pool.errors import PoolTimeout
from django_connmgr._pool.growth import REFUSAL_PAUSE
from django_connmgr.testing import FakeDriver, ManualClock, ServerFull

from .conftest import MakePool
from .helpers import PATIENCE, Borrower, Worker, picture


class Gate:
    """Lets connects through one by one, or fails them."""

    def __init__(self, driver: FakeDriver) -> None:
        self.entered = threading.Semaphore(0)
        self._outcomes: list[BaseException | None] = []
        self._opened = threading.Semaphore(0)
        driver.on_connect = self._pass

    def _pass(self) -> None:
        self.entered.release()
        assert self._opened.acquire(timeout=PATIENCE)
        error = self._outcomes.pop(0)
        if error is not None:
            raise error

    def await_entered(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)

    def let(self, error: BaseException | None = None, *, count: int = 1) -> None:
        for _ in range(count):
            self._outcomes.append(error)
            self._opened.release()


def fail(error: Exception) -> None:
    raise error


def test_a_place_is_taken_before_the_connection_is_opened(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """Two who connect at once cannot together exceed what the server is to see."""
    pool, gate = make_pool(max_size=1), Gate(driver)
    first = Borrower(pool)
    gate.await_entered()
    second = Borrower(pool)
    clock.await_waiters()
    assert picture(pool) == {"connecting": 1, "waiting": 1}
    gate.let()
    first.give_back()
    second.give_back()
    assert driver.most_open == 1


def test_no_more_than_max_connecting_connect_at_once(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool, gate = make_pool(max_size=6, max_connecting=2), Gate(driver)
    barrier = threading.Barrier(6)

    def hold() -> None:
        lease = pool.acquire()
        barrier.wait(PATIENCE)
        lease.release()

    workers = [Worker(hold) for _ in range(6)]
    gate.await_entered(2)
    clock.await_waiters(4)
    assert picture(pool) == {"connecting": 2, "waiting": 4}
    gate.let()
    gate.await_entered()
    assert picture(pool) == {"connecting": 2, "leased": 1, "waiting": 3}
    gate.let(count=2)
    gate.await_entered(2)
    assert picture(pool) == {"connecting": 2, "leased": 3, "waiting": 1}
    gate.let(count=3)
    for worker in workers:
        worker.result()
    assert picture(pool) == {"idle": 6}


def test_who_may_not_connect_yet_takes_a_returned_connection_if_that_comes_first(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=3, max_connecting=1)
    lease = pool.acquire()
    gate = Gate(driver)
    connecting = Borrower(pool)
    gate.await_entered()
    waiting = Borrower(pool)
    clock.await_waiters()
    lease.release()
    waiting.await_served()
    assert picture(pool) == {"connecting": 1, "leased": 1}
    gate.let()
    connecting.give_back()
    waiting.give_back()


def test_a_failed_connect_is_raised_at_once_as_it_is_and_frees_the_place(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=1)
    error = OSError("no route")
    driver.on_connect = lambda: fail(error)
    with pytest.raises(OSError) as caught:
        pool.acquire()
    assert caught.value is error
    assert picture(pool) == {}
    assert pool.stats().connect_failures == 1


def test_a_failed_connect_lets_the_next_in_line_connect(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool, gate = make_pool(max_size=1), Gate(driver)
    first = Borrower(pool)
    gate.await_entered()
    second = Borrower(pool)
    clock.await_waiters()
    gate.let(OSError("no route"))
    with pytest.raises(OSError):
        first.result()
    gate.await_entered()
    assert picture(pool) == {"connecting": 1}
    gate.let()
    second.give_back()


def test_a_connect_has_what_is_left_of_the_deadline(
    make_pool: MakePool, clock: ManualClock, driver: FakeDriver
) -> None:
    """One deadline over everything: the wait counts."""
    pool = make_pool(max_size=1, timeout=5)
    lease = pool.acquire()
    timeouts: list[float] = []
    connect = driver.connect

    def note(timeout: float) -> object:
        timeouts.append(timeout)
        return connect(timeout)

    driver.connect = note  # type: ignore[method-assign,assignment]
    waiting = Borrower(pool)
    clock.await_waiters()
    clock._now += 2
    lease.discard()
    waiting.give_back()
    assert timeouts == [3.0]


# A server that takes no more connections


def test_with_other_connections_a_full_server_means_to_wait_for_one_of_them(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2)
    lease = pool.acquire()
    driver.on_connect = lambda: fail(ServerFull())
    waiting = Borrower(pool)
    clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 1}
    connection = lease.connection
    lease.release()
    assert waiting.await_served() is connection
    waiting.give_back()


def test_without_other_connections_a_full_server_is_an_error_at_once(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool = make_pool(max_size=2)
    driver.on_connect = lambda: fail(ServerFull())
    with pytest.raises(ServerFull):
        pool.acquire()
    assert picture(pool) == {}


def test_while_another_connects_a_full_server_means_to_wait_for_that(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """It may get the last place of the server, and give it back."""
    pool, gate = make_pool(max_size=2), Gate(driver)
    borrowers = [Borrower(pool), Borrower(pool)]
    gate.await_entered(2)
    gate.let(ServerFull())
    clock.await_waiters()
    assert picture(pool) == {"connecting": 1, "waiting": 1}
    gate.let()
    # Which of the two was refused is the threads' luck. The return of the other serves it.
    served: Queue[Borrower] = Queue()
    for borrower in borrowers:
        Worker(lambda borrower=borrower: (borrower.await_served(), served.put(borrower)))
    for _ in borrowers:
        served.get(timeout=PATIENCE).give_back()
    assert (driver.most_open, len(driver.open()), picture(pool)) == (2, 1, {"idle": 1})


def test_two_that_are_refused_at_once_do_not_wait_for_each_other(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """When the last of them fails, there is nothing to wait for: the server is asked again."""
    pool, gate = make_pool(max_size=2), Gate(driver)
    workers = [Borrower(pool) for _ in range(2)]
    gate.await_entered(2)
    gate.let(ServerFull())
    clock.await_waiters()
    gate.let(ServerFull())
    gate.await_entered()
    assert picture(pool) == {"connecting": 1}
    gate.let(ServerFull())
    for worker in workers:
        with pytest.raises(ServerFull):
            worker.await_served()
    assert (picture(pool), pool.stats().connect_failures) == ({}, 3)


def test_who_was_refused_by_a_full_server_goes_before_those_who_came_later(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, max_connecting=1)
    lease = pool.acquire()
    gate = Gate(driver)
    refused = Borrower(pool)
    gate.await_entered()
    later = Borrower(pool)
    clock.await_waiters()
    gate.let(ServerFull())
    clock.await_waiters()
    assert picture(pool) == {"leased": 1, "waiting": 2}
    lease.release()
    refused.await_served()
    assert picture(pool) == {"leased": 1, "waiting": 1}
    refused.give_back()
    later.give_back()


def test_a_full_server_is_not_pestered_and_is_asked_again_after_a_pause(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=3)
    lease = pool.acquire()
    driver.on_connect = lambda: fail(ServerFull())
    workers = [Borrower(pool)]
    clock.await_waiters()
    workers.append(Borrower(pool))
    clock.await_waiters()
    assert pool.stats().connect_failures == 1
    driver.on_connect = lambda: None
    clock.advance(REFUSAL_PAUSE)
    for worker in workers:
        worker.give_back()
    lease.release()


def test_while_nobody_returns_a_connection_a_full_server_is_asked_again_in_time(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """A waiter does not sleep past the moment from which the pool may grow again."""
    pool = make_pool(max_size=2)
    lease = pool.acquire()
    driver.on_connect = lambda: fail(ServerFull())
    sleeps: list[float] = []

    def sleep(bell: object, timeout: float) -> None:
        sleeps.append(timeout)
        driver.on_connect = lambda: None
        clock._now += timeout

    clock.wait = sleep  # type: ignore[method-assign,assignment]
    pool.acquire().release()
    assert sleeps == [pytest.approx(REFUSAL_PAUSE)]
    lease.release()


def test_without_any_connection_left_a_full_server_is_asked_again_at_once(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    """There is nothing to wait for any more."""
    pool = make_pool(max_size=2)
    lease = pool.acquire()
    driver.on_connect = lambda: fail(ServerFull())
    waiting = Borrower(pool)
    clock.await_waiters()
    driver.on_connect = lambda: None
    lease.discard()
    waiting.give_back()


def test_a_full_server_is_chained_to_the_timeout_that_it_caused(
    make_pool: MakePool, driver: FakeDriver, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2)
    lease = pool.acquire()
    driver.on_connect = lambda: fail(ServerFull("too many clients"))
    waiting = Borrower(pool)
    clock.await_waiters()
    clock.advance(60)
    with pytest.raises(PoolTimeout) as caught:
        waiting.result()
    assert repr(caught.value.__cause__) == "ServerFull('too many clients')"
    lease.release()
