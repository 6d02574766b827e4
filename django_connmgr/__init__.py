"""A bounded connection pool for Django that loses nothing and leaks nothing."""

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
from .consistency import consistency, marks_write, read_only, using_primary, using_replica
from .exceptions import (
    NoReplica,
    PoolClosed,
    PoolError,
    PoolTimeout,
    ReplicaWriteError,
    TooManyRequests,
)
from .replicas import replicas
from .units import Thread, ThreadPoolExecutor, unit_of_work, wrap_executor

__all__ = [
    "NoReplica",
    "PermanentCheckoutWarning",
    "PoolClosed",
    "PoolError",
    "PoolTimeout",
    "ReplicaWriteError",
    "Thread",
    "ThreadPoolExecutor",
    "TooManyRequests",
    "consistency",
    "dedicated",
    "lease_connection",
    "marks_write",
    "pools",
    "read_only",
    "release_connection",
    "release_connections",
    "released",
    "replicas",
    "unit_of_work",
    "using_primary",
    "using_replica",
    "with_connection",
    "wrap_executor",
]

__version__ = "0.1.0"
