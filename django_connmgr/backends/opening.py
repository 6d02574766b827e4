"""Opening physical connections, the wrapped engine's own way."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.functional import cached_property

from .._pool.pool import ConnectionPool
from .physical import Physical
from .stock import Stock


class OpeningWrapper(Stock):
    """The part of a wrapper that opens connections for its pool."""

    #: Names of attributes that opening a connection has been seen to leave on a wrapper.
    _left_by_connect: ClassVar[set[str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._left_by_connect = set()

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        #: Seconds that remain for opening a connection, while one is being opened.
        self._connect_timeout: float | None = None
        #: Code that ran when the connection was opened changed its session.
        self._opened_with_session_state = False

    @property
    def connection_pool(self) -> ConnectionPool[Physical] | None:
        """The pool of this process that this wrapper borrows from; ``None`` if it does not."""
        raise NotImplementedError

    def _require_pool(self) -> ConnectionPool[Physical]:
        pool = self.connection_pool
        if pool is None:
            raise ImproperlyConfigured(f"DATABASES[{self.alias!r}] lost its pool while connecting.")
        return pool

    def _connect_here(self, timeout: float) -> Physical:
        """Open a physical connection with the wrapped engine's own ``connect()``.

        For the pool: the wrapper itself is left without one, whatever happens. What the
        wrapped engine does meanwhile, it does on a connection that is not leased yet.
        """
        driver: Any = self._require_pool().driver
        before = set(vars(self))
        self._connect_timeout = timeout
        self._opened_with_session_state = False
        try:
            super().connect()
            left = self._left_by_connect
            left.update(name for name in set(vars(self)) - before if not self._is_cache(name))
            state = {name: value for name, value in vars(self).items() if name in left}
            physical: Physical = driver.prepare(self.connection, state)
            physical.is_customised = self._opened_with_session_state
        except BaseException:
            if self.connection is not None:
                driver.close_all([self.connection], linger=True)
            raise
        finally:
            self._connect_timeout = self.close_at = self.connection = None
        return physical

    @classmethod
    def _connect_apart(cls, settings: dict[str, Any], alias: str, timeout: float) -> Physical:
        """Open a physical connection on a wrapper of its own, for the background thread.

        Meanwhile it is that thread's ``connections[alias]``, to receivers of
        ``connection_created`` that ask for it: another would lease, and never release.
        """
        wrapper = cls(settings, alias)
        previous = getattr(connections._connections, alias, None)  # type: ignore[attr-defined]
        connections[alias] = wrapper
        try:
            return wrapper._connect_here(timeout)
        finally:
            if previous is None:
                del connections[alias]
            else:
                connections[alias] = previous

    def _is_cache(self, name: str) -> bool:
        return isinstance(getattr(type(self), name, None), cached_property)

    def get_connection_params(self) -> dict[str, Any]:
        """The wrapped engine's, without our options, and bounded by the checkout's deadline."""
        settings = self.settings_dict
        options = {key: value for key, value in settings["OPTIONS"].items() if key != "pool"}
        # Only this wrapper sees the copy; the original is shared by all of its alias.
        self.settings_dict = {**settings, "OPTIONS": options}
        try:
            params = super().get_connection_params()
        finally:
            self.settings_dict = settings
        if self._connect_timeout is not None:
            self.bound_connect(params, self._connect_timeout)
        return params

    def bound_connect(self, params: dict[str, Any], timeout: float) -> None:
        """Make connecting with ``params`` take no longer than ``timeout`` seconds, if it can."""
