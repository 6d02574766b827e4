"""A physical connection, with what the pool must remember beside it."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from .._pool.driver import ConnectionState
from ..conf import PoolOptions

logger = logging.getLogger("django_connmgr.backends")

S = TypeVar("S")


@dataclass(slots=True)
class Physical:
    """What a slot holds: the real driver connection, and the state it was opened with."""

    raw: Any
    #: Attributes that opening it left on the wrapper, such as ``isolation_level``: they
    #: are laid on every wrapper that leases it.
    wrapper_state: Mapping[str, Any]
    #: Attributes of the driver's connection right after it was opened, by name.
    baseline: Mapping[str, Any]
    #: What Django set in its session when it was opened, by name of the setting.
    session: Mapping[str, Any]
    #: Where the driver keeps those, what was there at that moment: if it is the same again, so
    #: is each of ``baseline``. ``None`` if nobody can tell without asking for each.
    pristine: object = None
    #: Tells whether something has arrived on its socket; see ``sockets.watch()``.
    watch: Callable[[], int] | None = None
    #: The borrower left something in the session of the server.
    has_session_state: bool = False
    #: Code outside Django's and the engine's own did so when it was opened.
    is_customised: bool = False
    #: How many wrappers have taken on its state, each for as long as it leased it.
    adoptions: int = 0


class PhysicalDriver:
    """The pool's driver interface over ``Physical``; subclasses know one database driver."""

    #: Attributes of the raw connection that its next borrower must find as they were at
    #: the start. Reading one costs no round trip, nor does setting it while idle.
    restored: ClassVar[tuple[str, ...]] = ()
    #: The same, by the names of what is behind each, which is faster to read. Empty if that is
    #: not in reach of Python.
    kept: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: PoolOptions, connect: Callable[[float], Physical]) -> None:
        self.options = options
        self._connect = connect
        self.asks_always = options.check is not None
        self._has_own_reset = callable(options.reset)
        self._look = operator.attrgetter(*self.kept) if self.kept else None
        #: What connections have in common, as a rule. Written without a lock: two threads at
        #: once cost one copy more.
        self._shared: dict[str, Any] = {}

    def connect(self, timeout: float) -> Physical:
        return self._connect(timeout)

    def is_quiet(self, connection: Physical) -> bool:
        if self.asks_always:
            return False  # It is made at every checkout, as in psycopg_pool.
        watch = connection.watch
        return not watch() if watch is not None else self.is_silent(connection.raw)

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

    def is_clean(self, connection: Physical) -> bool:
        raw = connection.raw
        return (
            self._look is not None
            and not self._has_own_reset
            and not connection.has_session_state
            and self._look(raw) == connection.pristine
            and self.is_idle(raw)
        )

    def state(self, connection: Physical) -> ConnectionState:
        return self.state_of(connection.raw)

    def rollback(self, connection: Physical) -> None:
        connection.raw.rollback()

    def reset(self, connection: Physical) -> bool:
        raw, baseline = connection.raw, connection.baseline
        for name, value in baseline.items():
            if getattr(raw, name) != value:
                setattr(raw, name, value)
        reset = self.options.reset
        if callable(reset):
            reset(raw)
        elif reset == "session" and connection.has_session_state:
            if connection.is_customised:
                return False  # Nobody knows how to do again what was done to it.
            connection.has_session_state = False
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
        return Physical(
            raw,
            wrapper_state,
            self._share("baseline", {name: getattr(raw, name) for name in self.restored}),
            self._share("session", self.session_of(raw)),
            pristine=self._picture(raw),
            watch=self.watch(raw),
        )

    def _picture(self, raw: Any) -> object:
        """See ``Physical.pristine``."""
        if self._look is None:
            return None
        try:
            return self._share("pristine", self._look(raw))
        except AttributeError:  # Another version of the driver, which is asked for each.
            self._look = None
            return None

    def _share(self, what: str, value: S) -> S:
        """``value``, or the same as the connection before had: one object for all that agree."""
        known: S | None = self._shared.get(what)
        if known is None or known != value:
            known = self._shared[what] = value
        return known

    # What a subclass knows of its driver: all of it about raw connections.

    def is_silent(self, raw: Any) -> bool:
        """See ``Driver.is_quiet``."""
        raise NotImplementedError

    def ping(self, raw: Any, timeout: float) -> bool:
        """See ``Driver.check``."""
        raise NotImplementedError

    def watch(self, raw: Any) -> Callable[[], int] | None:  # noqa: ARG002 - for subclasses
        """See ``Physical.watch``; where there is none, ``is_silent()`` is called."""
        return None

    def session_of(self, raw: Any) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """See ``Physical.session``."""
        return {}

    def is_idle(self, raw: Any) -> bool:
        """Whether ``state_of()`` is that it is idle."""
        return self.state_of(raw) is ConnectionState.IDLE

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
