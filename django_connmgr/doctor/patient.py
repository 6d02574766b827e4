"""One database, with a pool that only the doctor uses."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections

from .._pool.lease import Lease
from .._pool.pool import ConnectionPool
from ..conf import PoolOptions
from ..exceptions import ERRORS

R = TypeVar("R")

#: The most connections that the doctor opens to one server at a time.
MOST = 2


class Patient:
    """What is examined: a server, by the settings of an alias. Close it at the end."""

    def __init__(self, alias: str, settings: dict[str, Any], label: str, timeout: float) -> None:
        self.alias = alias
        self.label = label
        self.timeout = timeout
        # Of its own, and not the calling thread's: that may be in a transaction.
        engine: Any = type(connections[alias])
        self.wrapper = engine(settings, alias)
        self.driver: Any = self.wrapper.make_driver()
        self.options: PoolOptions = self.driver.options
        most = MOST if self.options.max_size is None else min(MOST, self.options.max_size)
        limits = dataclasses.replace(
            self.options, max_size=most, min_size=0, timeout=timeout,
            reap_interval=0, keepalive=0, leak_threshold=0,
        )  # fmt: skip
        self.size = most
        self.pool: ConnectionPool[Any] = ConnectionPool(label, self.driver, limits, errors=ERRORS)
        #: What opened its connections told of a pooler in between; see ``examine_pooler()``.
        self.shares_server_connections = False

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.wrapper.settings_dict
        return found

    @property
    def is_postgresql(self) -> bool:
        return bool(self.wrapper.vendor == "postgresql")

    def acquire(self) -> Lease[Any]:
        return self.pool.acquire()

    def ask(self, lease: Lease[Any], sql: str) -> Any:
        """The first value of the first row; no transaction is left behind."""
        raw = lease.connection.raw
        cursor = raw.cursor()
        try:
            cursor.execute(sql)
            row = cursor.fetchone()
        finally:
            cursor.close()
        return next(iter(row.values())) if isinstance(row, dict) else row[0]

    def identify(self, lease: Lease[Any]) -> Any:
        """What tells one connection from another."""
        return (
            self.ask(lease, "SELECT pg_backend_pid()")
            if self.is_postgresql
            else id(lease.connection.raw)
        )

    def on_a_thread(self, work: Callable[[], R]) -> R:
        """Do it on a thread that ends with it; raises what it raises."""
        done: list[R] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                done.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="django-connmgr-doctor", daemon=True)
        thread.start()
        thread.join(4 * self.timeout)
        if errors:
            raise errors[0]
        if not done:
            raise TimeoutError(f"It has not ended within {4 * self.timeout:g} s.")
        return done[0]

    def close(self) -> None:
        self.pool.close(linger=False)
