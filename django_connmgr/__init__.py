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
from .backends.credentials import Credentials
from .backends.permits import PermanentCheckoutWarning
from .consistency import (
    consistency,
    current_token,
    marks_write,
    read_only,
    require_token,
    using_primary,
    using_replica,
)
from .exceptions import (
    CredentialsError,
    DeadlineExceeded,
    NoReplica,
    PoolClosed,
    PoolError,
    PoolTimeout,
    ReplicaWriteError,
    TooManyRequests,
)
from .replicas import replicas, wait_for_replicas
from .units import Thread, ThreadPoolExecutor, unit_of_work, wrap_executor

__all__ = [
    "Credentials",
    "CredentialsError",
    "DeadlineExceeded",
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
    "current_token",
    "dedicated",
    "lease_connection",
    "marks_write",
    "pools",
    "read_only",
    "release_connection",
    "release_connections",
    "released",
    "replicas",
    "require_token",
    "unit_of_work",
    "using_primary",
    "using_replica",
    "wait_for_replicas",
    "with_connection",
    "wrap_executor",
]

__version__ = "0.1.0"
