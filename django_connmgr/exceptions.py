"""The pool's errors as ``OperationalError``, which code that expects a lost server handles."""

from django.db.utils import OperationalError

from ._pool.errors import Errors


class PoolError(OperationalError):
    """Base of everything that the pool itself raises."""


class PoolTimeout(PoolError):
    """No connection became available within ``timeout`` seconds."""


class PoolClosed(PoolError):
    """The pool was closed before or while a connection was asked for."""


class TooManyRequests(PoolError):
    """``max_waiting`` callers are waiting already."""


#: What pools raise whose users are Django's.
ERRORS = Errors(PoolError, PoolTimeout, PoolClosed, TooManyRequests)
