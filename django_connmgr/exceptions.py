"""Errors; the pool's are ``OperationalError``, which code that expects a lost server handles."""

from django.db.utils import NotSupportedError, OperationalError

from ._pool.errors import Errors


class PoolError(OperationalError):
    """Base of everything that the pool itself raises."""


class PoolTimeout(PoolError):
    """No connection became available within ``timeout`` seconds."""


class PoolClosed(PoolError):
    """The pool was closed before or while a connection was asked for."""


class TooManyRequests(PoolError):
    """``max_waiting`` callers are waiting already."""


class DeadlineExceeded(PoolError):
    """The deadline of a unit of work has passed: what it had is rolled back, it gets nothing more.

    See ``unit_of_work()``.
    """


class CredentialsError(PoolError):
    """The function of the option ``credentials`` failed; the cause is what it raised."""


class NoReplica(OperationalError):
    """No replica can be read from, and ``CONNMGR["ON_NO_REPLICA"]`` is ``"error"``."""


class ReplicaWriteError(NotSupportedError):
    """A write, or a lock, where there may be none: nothing was sent."""


#: What pools raise whose users are Django's.
ERRORS = Errors(PoolError, PoolTimeout, PoolClosed, TooManyRequests, DeadlineExceeded)
