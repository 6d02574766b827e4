"""Pools without Django and without a server: what acquire and release cost, and nothing else.

Their connections are fakes that answer the one question which a pool asks when it hands them
out and takes them back: what state they are in. No pool makes a round trip of its own accord.
Each is called as a framework calls it: by the two cheapest public calls.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BarePool:
    """A pool with all of its connections open."""

    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    close: Callable[[], object]


def fill(pool: BarePool, size: int) -> BarePool:
    """Make it open all its connections, now."""
    for item in [pool.acquire() for _ in range(size)]:
        pool.release(item)
    return pool


def connmgr_pool(size: int) -> BarePool:
    from django_connmgr._pool.limits import Limits
    from django_connmgr._pool.pool import ConnectionPool
    from django_connmgr.testing import FakeDriver

    pool: Any = ConnectionPool("bare", FakeDriver(), Limits(max_size=size, timeout=30.0))
    lease = pool.acquire()
    lease.release()
    return fill(BarePool(pool.acquire, type(lease).release, pool.close), size)


def psycopg_pool(size: int) -> BarePool:
    from psycopg.pq import TransactionStatus
    from psycopg_pool import ConnectionPool

    class FakePGconn:
        transaction_status = TransactionStatus.IDLE

    class FakeConnection:
        """Has what the pool uses of a connection."""

        def __init__(self) -> None:
            self.pgconn = FakePGconn()

        @classmethod
        def connect(cls, conninfo: str, **kwargs: Any) -> FakeConnection:  # noqa: ARG003
            return cls()

        def close(self) -> None:
            pass

    pool: Any = ConnectionPool(
        min_size=size,
        max_size=size,
        connection_class=FakeConnection,
        open=False,
    )
    pool.open(wait=True)
    return BarePool(pool.getconn, pool.putconn, pool.close)


def queue_pool(size: int) -> BarePool:
    from sqlalchemy.pool import QueuePool

    class FakeConnection:
        def rollback(self) -> None:
            pass

        def close(self) -> None:
            pass

    connect: Any = FakeConnection
    pool = QueuePool(connect, pool_size=size, max_overflow=0)
    return fill(BarePool(pool.connect, operator.methodcaller("close"), pool.dispose), size)


def lock_and_deque(size: int) -> BarePool:
    """The least that a pool can do: no waiting, no state, no deadline."""
    lock, idle = threading.Lock(), deque(object() for _ in range(size))

    def acquire() -> object:
        with lock:
            return idle.pop()

    def release(item: object) -> None:
        with lock:
            idle.append(item)

    return BarePool(acquire, release, idle.clear)
