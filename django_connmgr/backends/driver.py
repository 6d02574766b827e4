"""The pool's view of a database driver: what all drivers have in common."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from .._pool.driver import ConnectionState
from ..conf import PoolOptions
from .physical import Physical

logger = logging.getLogger("django_connmgr.backends")

S = TypeVar("S")


class PhysicalDriver:
    """The pool's driver interface over ``Physical``; subclasses know one database driver."""

    #: Attributes of the raw connection that its next borrower must find as they were at
    #: the start. Reading one costs no round trip, nor does setting it while idle.
    restored: ClassVar[tuple[str, ...]] = ()
    #: What of the raw connection is the same, as long as those are, and it is idle: names that
    #: are fast to read.
    pictured: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: PoolOptions, connect: Callable[[float], Physical]) -> None:
        self.options = options
        self._connect = connect
        names = [f"raw.{name}" for name in self.pictured]
        #: See ``Driver.look``. A reset of the user's is called at every release.
        self.look: Callable[[Physical], object] = (
            _nothing_like_before
            if callable(options.reset)
            else operator.attrgetter("has_session_state", *names)
        )
        #: What connections have in common, as a rule. Written without a lock: two threads at
        #: once cost one copy more.
        self._shared: dict[str, Any] = {}

    def connect(self, timeout: float) -> Physical:
        return self._connect(timeout)

    def watch(self, connection: Physical) -> Callable[[], object]:
        if self.options.check is not None:
            return _always  # It is made at every checkout, as in psycopg_pool.
        return self.watch_raw(connection.raw)

    def backend_pid(self, connection: Physical) -> int | None:
        return self.pid_of(connection.raw)

    def check(self, connection: Physical, timeout: float) -> bool:
        if not self.ping(connection.raw, timeout):
            return False
        if self.options.check is None:
            return True
        try:
            self.options.check(connection.raw)
        except Exception:
            logger.warning("The pool option 'check' refused a connection.", exc_info=True)
            return False
        return True

    def state(self, connection: Physical) -> ConnectionState:
        return self.state_of(connection.raw)

    def rollback(self, connection: Physical) -> None:
        connection.raw.rollback()

    def reset(self, connection: Physical) -> bool:
        raw = connection.raw
        for name, value in connection.baseline.items():
            if getattr(raw, name) != value:
                setattr(raw, name, value)
        connection.adoption = None  # What its borrower knew of it is not true any more.
        had_session_state, connection.has_session_state = connection.has_session_state, False
        reset = self.options.reset
        if callable(reset):
            reset(raw)
        elif reset == "session" and had_session_state:
            if connection.is_customised:
                return False  # Nobody knows how to do again what was done to it.
            return self.reset_session(connection)
        return True

    def close(self, connections: Iterable[Physical], *, linger: bool) -> None:
        self.close_all([connection.raw for connection in connections], linger=linger)

    def abandon(self, connection: Physical) -> None:
        self.disown(connection.raw)

    def prepare(self, raw: Any, wrapper_state: Mapping[str, Any]) -> Physical:
        """Finish a connection that was just opened, and note the state that it is in."""
        if self.options.configure is not None:
            self.options.configure(raw)
        if all(isinstance(value, Hashable) for value in wrapper_state.values()):
            wrapper_state = self._share("wrapper_state", wrapper_state)
        return Physical(
            raw,
            wrapper_state,
            self._share("baseline", {name: getattr(raw, name) for name in self.restored}),
            self._share("session", self.session_of(raw)),
        )

    def _share(self, what: str, value: S) -> S:
        """``value``, or the same as the connection before had: one object for all that agree."""
        known: S | None = self._shared.get(what)
        if known is None or known != value:
            known = self._shared[what] = value
        return known

    # What a subclass knows of its driver: all of it about raw connections.

    def watch_raw(self, raw: Any) -> Callable[[], object]:
        """See ``Driver.watch``."""
        raise NotImplementedError

    def ping(self, raw: Any, timeout: float) -> bool:
        """See ``Driver.check``."""
        raise NotImplementedError

    def pid_of(self, raw: Any) -> int | None:  # noqa: ARG002 - for subclasses
        """See ``Driver.backend_pid``."""
        return None

    def session_of(self, raw: Any) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """See ``Physical.session``."""
        return {}

    def reset_session(self, connection: Physical) -> bool:  # noqa: ARG002 - for subclasses
        """Make the session of the server as new; false if only a new connection is."""
        return False

    def state_of(self, raw: Any) -> ConnectionState:
        """See ``Driver.state``."""
        raise NotImplementedError

    def close_all(self, raws: list[Any], *, linger: bool) -> None:
        """See ``Driver.close``."""
        raise NotImplementedError

    def disown(self, raw: Any) -> None:
        """See ``Driver.abandon``."""
        raise NotImplementedError

    def is_overloaded(self, error: Exception) -> bool:  # noqa: ARG002 - for subclasses
        """See ``Driver.is_overloaded``."""
        return False


def _always() -> bool:
    return True


def _nothing_like_before(connection: Physical) -> object:  # noqa: ARG001
    return object()
