"""What users call: leasing and releasing by hand, and the pools of this process."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError
from django.utils.asyncio import async_unsafe

from ._pool.pool import ConnectionPool
from .block import Block
from .registry import registry
from .units.thread import release, release_all

logger = logging.getLogger("django_connmgr.connections")

_ON_A_LOOP = (
    "{0}() acts on the connections of the thread that calls it, and an event loop's has none: "
    "the ORM works in another. {1}"
)


class with_connection(Block):  # noqa: N801 - used like a function, as ``contextlib.suppress``
    """Hold a connection for as long as a block or a function runs, and no longer.

    Yields ``connections[using]``. Blocks nest, and the outermost gives back what it took: a
    connection that was leased before the block stays leased after it. Nothing takes the connection
    away inside. ``timeout`` (seconds) replaces the pool's for this checkout; raises ``PoolTimeout``
    when it is over. As Active Record's ``with_connection``. ``async with`` and async functions hold
    it where the ORM of that task runs: use the ORM's async methods or ``sync_to_async`` inside.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS, *, timeout: float | None = None) -> None:
        self.using = using
        self.timeout = timeout
        #: The wrapper that was entered last.
        self._entered: Any = None

    def __enter__(self) -> BaseDatabaseWrapper:
        wrapper = self._entered = connections[self.using]
        try:
            borrower: Any = wrapper.borrower  # type: ignore[attr-defined]
        except AttributeError:
            return wrapper  # Of another engine.
        depth = borrower.depth
        try:
            borrower.enter_block(self.timeout)
            return wrapper
        except BaseException:
            while borrower.depth > depth:  # Interrupted after it was entered.
                borrower.exit_block()
            raise

    def __exit__(self, *exc_info: object) -> None:
        wrapper, self._entered = self._entered, None
        if wrapper is None:  # Entered again inside, and left there.
            wrapper = connections[self.using]
        if not hasattr(wrapper, "borrower"):
            return
        if wrapper._thread_ident == threading.get_ident() or wrapper.allow_thread_sharing:
            wrapper.borrower.exit_block()
        else:  # A generator was collected on another thread: its own ends the block.
            wrapper.borrower.was_left_elsewhere = True

    def _around(self, function: Callable[..., Any]) -> Callable[[], with_connection]:  # noqa: ARG002
        # A block for each call, because calls on other threads enter other wrappers.
        return functools.partial(with_connection, self.using, timeout=self.timeout)

    async def __aenter__(self) -> BaseDatabaseWrapper:
        entered: list[BaseDatabaseWrapper] = []

        def enter() -> BaseDatabaseWrapper:
            entered.append(self.__enter__())
            return entered[0]

        def leave() -> None:
            if entered:
                self.__exit__()

        try:
            return await sync_to_async(enter)()
        except BaseException:
            # Cancelled while ``enter`` was on its way: it may still succeed, in a thread that
            # runs one call after the other. What it took is given back after it.
            await asyncio.shield(sync_to_async(leave)())
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.shield(sync_to_async(self.__exit__)())


@async_unsafe(
    _ON_A_LOOP.format(
        "lease_connection",
        "Use 'async with with_connection():' or sync_to_async(lease_connection)().",
    )
)
def lease_connection(using: str = DEFAULT_DB_ALIAS) -> BaseDatabaseWrapper:
    """Lease a connection for this thread until it is released; returns ``connections[using]``.

    Also inside ``with_connection()``, whose end then leaves it leased. Raises ``PoolTimeout``
    if there is none in time. As Active Record's ``lease_connection``.
    """
    wrapper = connections[using]
    borrower = getattr(wrapper, "borrower", None)
    if borrower is None or not borrower.keep():
        wrapper.ensure_connection()
    return wrapper


@async_unsafe(_ON_A_LOOP.format("release_connection", "Use sync_to_async(release_connection)()."))
def release_connection(using: str = DEFAULT_DB_ALIAS) -> bool:
    """Give this thread's connection back; true if there was one and it went.

    Does nothing inside ``atomic`` or a ``with_connection()`` block. What autocommit being off left
    uncommitted is rolled back.
    """
    return release(connections[using])


@async_unsafe(_ON_A_LOOP.format("release_connections", "Use sync_to_async(release_connections)()."))
def release_connections() -> int:
    """``release_connection()`` for each alias of this thread; returns how many went.

    An alias that fails is logged and does not keep the others.
    """
    return release_all()


class released(Block):  # noqa: N801 - used like a function
    """Give connections back now, around slow work that is not the database's.

    ``using`` is an alias, or ``None`` for all. The next query leases again, in the block or
    after it. Raises ``TransactionManagementError`` inside a transaction, and gives nothing back
    inside those of a test case, which has the whole test in them. ``async with`` and async
    functions give back what the thread leases where the ORM of that task runs.
    """

    def __init__(self, using: str | None = None) -> None:
        self.using = using

    @async_unsafe(_ON_A_LOOP.format("released", "Use 'async with released():'."))
    def __enter__(self) -> None:
        wrappers = connections.all(True) if self.using is None else [connections[self.using]]
        for wrapper in wrappers:
            if _has_transaction(wrapper):
                raise TransactionManagementError(
                    f"released() would lose the open transaction on {wrapper.alias!r}. Do the "
                    f"slow work before or after the transaction, or in transaction.on_commit()."
                )
        for wrapper in wrappers:
            borrower = getattr(wrapper, "borrower", None)
            if borrower is not None and not wrapper.in_atomic_block:
                borrower.suspend()

    async def __aenter__(self) -> None:
        await sync_to_async(self.__enter__)()

    def __exit__(self, *exc_info: object) -> None: ...
    async def __aexit__(self, *exc_info: object) -> None: ...


def _has_transaction(wrapper: Any) -> bool:
    """Whether a transaction of the user's is open, as ``durable=True`` sees it."""
    if wrapper.in_atomic_block:
        return not all(block._from_testcase for block in wrapper.atomic_blocks)
    borrower = getattr(wrapper, "borrower", None)
    return borrower is not None and bool(borrower.has_transaction())


@contextmanager
def dedicated(using: str = DEFAULT_DB_ALIAS) -> Iterator[BaseDatabaseWrapper]:
    """A connection of its own, outside the pool and its limit, closed at the end of the block.

    For what keeps a connection for good: LISTEN, session advisory locks. Yields a wrapper
    like ``connections[using]``, which Django's routers do not know: use its ``cursor()``.
    """
    wrapper: Any = connections[using].copy()
    pool = _pool_of(connections[using])
    if pool is not None:
        wrapper.borrower.is_dedicated = True
        pool.count("dedicated")
    try:
        yield wrapper
    finally:
        try:
            wrapper.close()
        finally:
            if pool is not None:
                pool.count("dedicated", -1)


def _pool_of(wrapper: BaseDatabaseWrapper) -> ConnectionPool[Any] | None:
    return getattr(wrapper, "connection_pool", None)


#: Seconds from one look at pools that are drained to the next.
DRAIN_INTERVAL = 0.02


def _warm(pool: ConnectionPool[Any], timeout: float) -> None:
    try:
        pool.warm(timeout)
    except Exception as error:
        logger.warning("Pool %r could not be warmed: %s", pool.name, error)


class Pools(Mapping[str, ConnectionPool[Any]]):
    """The pools of this process, by alias: every alias of ``DATABASES`` that is pooled.

    Asking for one makes it, which opens no connection and starts no thread.
    """

    def __getitem__(self, alias: str) -> ConnectionPool[Any]:
        pool = _pool_of(connections[alias]) if alias in connections else None
        if pool is not None:
            return pool
        raise KeyError(
            f"{alias!r} has no pool; the aliases with one are: {', '.join(self) or 'none'}."
        )

    def __iter__(self) -> Iterator[str]:
        return (alias for alias in connections if _pool_of(connections[alias]) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def warm(self, timeout: float = 30.0) -> dict[str, int]:
        """Open ``min_size`` connections of every pool before they are needed.

        All at once, within ``timeout`` seconds in all. Returns how many are open, by alias; one
        that fails is logged, has those that it opened, and does not keep the others.
        """
        made = dict(self)
        deadline = time.monotonic() + timeout
        threads = [
            threading.Thread(target=_warm, args=(pool, timeout), name="django-connmgr-warm")
            for pool in made.values()
        ]
        for thread in threads:
            thread.daemon = True
            thread.start()
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return {alias: pool.stats().size for alias, pool in made.items()}

    def drain(self, timeout: float = 30.0) -> bool:
        """Let what is in flight end, open nothing new, and close every pool: for SIGTERM.

        A unit of work that has begun goes on with the connections that there are. Pools close
        when nothing is leased, warm or awaited any more, or after ``timeout`` seconds: then what
        is still leased is closed when it comes back, and false is returned. Queries after that
        raise ``PoolClosed``. With ``release="transaction"`` a unit that is between two queries
        has nothing, and so is not waited for.
        """
        deadline = time.monotonic() + timeout
        left = registry.all()
        while left := [pool for pool in left if not pool.wind_down()]:
            if time.monotonic() >= deadline:
                for pool in left:
                    pool.close()
                return False
            time.sleep(DRAIN_INTERVAL)
        return True

    def __repr__(self) -> str:
        return f"<Pools {dict(self)!r}>"


pools = Pools()
