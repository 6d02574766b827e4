"""A bounded connection pool for Django that loses nothing and leaks nothing."""

from __future__ import annotations

from .api import (
    dedicated,
    lease_connection,
    pools,
    release_connection,
    release_connections,
    released,
    with_connection,
)
from .backends.permits import PermanentCheckoutWarning
from .exceptions import PoolClosed, PoolError, PoolTimeout, TooManyRequests
from .units import Thread, ThreadPoolExecutor, unit_of_work, wrap_executor

__all__ = [
    "PermanentCheckoutWarning",
    "PoolClosed",
    "PoolError",
    "PoolTimeout",
    "Thread",
    "ThreadPoolExecutor",
    "TooManyRequests",
    "dedicated",
    "lease_connection",
    "pools",
    "release_connection",
    "release_connections",
    "released",
    "unit_of_work",
    "with_connection",
    "wrap_executor",
]

__version__ = "0.1.0"
