"""What a pool raises. Django's side hands in its own classes, which are ``OperationalError``."""

from dataclasses import dataclass


class PoolError(Exception):
    """Base of everything that the pool itself raises."""


class PoolTimeout(PoolError):
    """No connection became available within ``timeout`` seconds."""


class PoolClosed(PoolError):
    """The pool was closed before or while a connection was asked for."""


class TooManyRequests(PoolError):
    """``max_waiting`` callers are waiting already."""


class DeadlineExceeded(PoolError):
    """The deadline of a unit of work has passed."""


@dataclass(frozen=True)
class Errors:
    """The classes that one pool raises."""

    error: type[Exception] = PoolError
    timeout: type[Exception] = PoolTimeout
    closed: type[Exception] = PoolClosed
    too_many: type[Exception] = TooManyRequests
    deadline: type[Exception] = DeadlineExceeded
