"""What is done to connections: opened, looked at, cleaned, closed. No lock, no table."""

from collections.abc import Callable, Iterable
from typing import Generic

from .driver import C, ConnectionState, Driver
from .jitter import Jitter
from .logs import logger
from .slot import CloseReason, Slot, look_into


class Connector(Generic[C]):
    """Works on the connection of a slot that its caller has, and that no other thread touches."""

    def __init__(self, name: str, driver: Driver[C]) -> None:
        self.name = name
        self.driver = driver
        #: Whether closing waits until the server has let go of the connection.
        self.lingers = True
        #: The last failed connect, until one succeeds; chained to timeouts.
        self.error: Exception | None = None
        self._jitter = Jitter()

    def open(
        self, slot: Slot[C], connect: Callable[[float], C], timeout: float, max_lifetime: float
    ) -> None:
        """Connect within ``timeout`` seconds, and note what the connection is like."""
        try:
            connection = connect(timeout)
        except Exception as error:
            self.error = _without_frames(error)
            raise
        slot.connection = connection
        self.error = None
        slot.backend_pid = self.driver.backend_pid(connection)
        try:
            slot.pristine = self.driver.look(connection)
        except Exception:
            slot.pristine = object()  # Nothing to compare with: every release asks for each.
        slot.watch = self.driver.watch(connection)
        slot.expires_at = self._jitter.expiry(slot.leased_at, max_lifetime)

    def is_clean(self, slot: Slot[C]) -> bool:
        """Whether the next borrower may have the connection as it is. No round trip."""
        try:
            return bool(self.driver.look(slot.connection) == slot.pristine)  # type: ignore[arg-type]
        except Exception:
            return False  # Closed behind our back, for example: ``clean()`` says what it is.

    def has_transaction(self, slot: Slot[C]) -> bool:
        """Whether the connection works, and is in the middle of a transaction. No round trip."""
        try:
            state = self.driver.state(slot.connection)  # type: ignore[arg-type]
        except Exception:
            return False
        return state is ConnectionState.IN_TRANSACTION

    def clean(self, slot: Slot[C], connection: C) -> CloseReason | None:
        """Make a used connection as the next borrower expects it, or say why it cannot be."""
        slot.watch = look_into  # If this is interrupted, the next who gets it cleans it.
        driver = self.driver
        try:
            if not self.is_clean(slot):
                state = driver.state(connection)
                if state is ConnectionState.IN_TRANSACTION:
                    driver.rollback(connection)
                    state = driver.state(connection)
                if state is not ConnectionState.IDLE:
                    return CloseReason.UNUSABLE
                if not driver.reset(connection):
                    return CloseReason.RESET_FAILED
        except Exception:
            logger.warning(
                "Pool %r: a connection could not be reset, so it is closed.",
                self.name,
                exc_info=True,
                extra={"pool": self.name},
            )
            return CloseReason.RESET_FAILED
        slot.watch = driver.watch(connection)
        return None

    def close(self, slots: Iterable[Slot[C]]) -> None:
        """Close the connections of these slots."""
        connections = [slot.connection for slot in slots if slot.connection is not None]
        if connections:
            self.driver.close(connections, linger=self.lingers)


def _without_frames(error: Exception) -> Exception:
    """The same error, without the traceback that would keep its callers' locals alive."""
    try:
        return type(error)(*error.args)
    except Exception:
        return RuntimeError(str(error))
