"""The pool's view of a database driver: what all drivers have in common."""

import logging
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import closing
from typing import Any, ClassVar, TypeVar

from .._pool.driver import ConnectionState
from .._pool.host import Report
from ..conf import PoolOptions
from .physical import Physical

logger = logging.getLogger("django_connmgr.backends")

S = TypeVar("S")


class PhysicalDriver:
    """The pool's driver interface over ``Physical``; subclasses know one database driver."""

    #: The driver's own base class of errors.
    error: ClassVar[type[Exception]]
    #: Attributes of the raw connection that its next borrower must find as they were at the start.
    #: To read one costs no round trip, nor does it to set one while idle.
    restored: ClassVar[tuple[str, ...]] = ()
    #: Names that are fast to read, whose values are the same while those are, and it is idle.
    pictured: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: PoolOptions, connect: Callable[[float], Physical]) -> None:
        self.options = options
        self._connect = connect
        #: See ``Driver.look``.
        self.look: Callable[[Physical], object] = operator.attrgetter(
            "has_session_state", *[f"raw.{name}" for name in self.pictured]
        )
        if callable(options.reset):  # It is called at every release: nothing looks as before.
            self.look = lambda _: object()
        #: What connections have in common. Written without a lock: a race costs one copy more.
        self._shared: dict[str, Any] = {}

    def connect(self, timeout: float) -> Physical:
        return self._connect(timeout)

    def watch(self, connection: Physical) -> Callable[[], object]:
        if self.options.check is not None:
            return lambda: True  # It is made at every checkout, as in psycopg_pool.
        return self.watch_raw(connection.raw)

    def backend_pid(self, connection: Physical) -> int | None:
        return self.pid_of(connection.raw)

    def check(self, connection: Physical, timeout: float) -> bool:
        if not self.ping(connection.raw, timeout):
            return False
        try:
            if self.options.check is not None:
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
            # What code of others did when it was opened, cannot be done again.
            return not connection.is_customised and self.reset_session(connection)
        return True

    def close(self, connections: Iterable[Physical], *, linger: bool) -> None:
        self.close_all([connection.raw for connection in connections], linger=linger)

    def kill(self, connection: Physical) -> None:
        self.end_session(connection.raw)

    def abandon(self, connection: Physical) -> None:
        self.disown(connection.raw)

    def prepare(self, raw: Any, wrapper_state: Mapping[str, Any]) -> Physical:
        """Finish a connection that was just opened, and note the state that it is in."""
        if self.options.configure is not None:
            self.options.configure(raw)
        if all(isinstance(value, Hashable) for value in wrapper_state.values()):
            wrapper_state = self._share("wrapper_state", wrapper_state)
        baseline = self._share("baseline", {name: getattr(raw, name) for name in self.restored})
        return Physical(raw, wrapper_state, baseline, self._share("session", self.session_of(raw)))

    def _share(self, what: str, value: S) -> S:
        """``value``, or its equal that the connection before had: one object for all that agree."""
        known: S | None = self._shared.get(what)
        if known is None or known != value:
            known = self._shared[what] = value
        return known

    # What a subclass knows of its driver: all of it about raw connections. Those without a
    # docstring are what ``Driver`` says of the method above that calls them.

    def watch_raw(self, raw: Any) -> Callable[[], object]:
        raise NotImplementedError

    def ping(self, raw: Any, timeout: float) -> bool:  # noqa: ARG002 - for those that know one
        try:
            with closing(raw.cursor()) as cursor:
                cursor.execute("SELECT 1")
        except self.error:
            return False
        return True

    def pid_of(self, raw: Any) -> int | None:  # noqa: ARG002 - for subclasses
        return None

    def state_of(self, raw: Any) -> ConnectionState:
        raise NotImplementedError

    def close_all(self, raws: list[Any], *, linger: bool) -> None:
        raise NotImplementedError

    def end_session(self, raw: Any) -> None:
        """See ``Driver.kill``: for drivers whose connections any thread may close at any time."""
        self.close_all([raw], linger=False)

    def disown(self, raw: Any) -> None:
        raise NotImplementedError

    def session_of(self, raw: Any) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """See ``Physical.session``."""
        return {}

    def reset_session(self, connection: Physical) -> bool:  # noqa: ARG002 - for subclasses
        """Make the session of the server as new; false if only a new connection is."""
        return False

    def report_of(self, raw: Any) -> Report | None:  # noqa: ARG002 - for subclasses
        """Ask the server how far its log has come, in one round trip; ``None`` if it has none."""
        return None

    def has_written(self, raw: Any) -> bool:  # noqa: ARG002 - for subclasses
        """Ask the server whether the open transaction has written, in one round trip."""
        return False

    def is_standby(self, raw: Any) -> bool | None:  # noqa: ARG002 - for subclasses
        """Whether the server is one, as it said last, at no round trip; ``None`` if unknown."""
        return None

    def is_overloaded(self, error: Exception) -> bool:  # noqa: ARG002 - for subclasses
        """See ``Driver.is_overloaded``."""
        return False
