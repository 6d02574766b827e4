"""``leak_threshold``: who holds a connection for too long is told, once."""

from __future__ import annotations

import threading

import pytest

from django_connmgr.testing import ManualClock

from .conftest import MakePool


def test_a_long_lease_is_logged_once_with_both_stacks(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_threshold=10.0, reap_interval=0.0)
    taken, may_end = threading.Event(), threading.Event()

    def borrow_for_long() -> None:
        lease = pool.acquire()
        taken.set()
        may_end.wait(30)
        lease.release()

    thread = threading.Thread(target=borrow_for_long, name="greedy")
    thread.start()
    taken.wait(30)
    clock.advance(9)
    pool.maintain()
    assert caplog.messages == []
    clock.advance(1)
    pool.maintain()
    pool.maintain()
    may_end.set()
    thread.join()
    (message,) = caplog.messages
    assert message.startswith("Pool 'test': thread 'greedy' has held a connection for 10.0 s.")
    leased, now = message.split("The thread is here now:")
    assert "lease = pool.acquire()" in leased
    assert "may_end.wait(30)" in now


def test_a_lease_that_is_given_back_in_time_is_not_told(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_threshold=10.0, reap_interval=0.0)
    pool.acquire().release()
    clock.advance(20)
    pool.maintain()
    assert caplog.messages == []
