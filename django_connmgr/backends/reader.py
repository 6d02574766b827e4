"""What one wrapper of a role's alias reads from."""

import logging
import time
from typing import Any

from .._pool.host import Host
from .._pool.position import Position
from ..app_settings import app_settings
from ..consistency.modes import get_mode
from ..consistency.tokens import required_of
from .attempt import Attempt
from .physical import Physical
from .role import ReadingRole, lags_too_much

logger = logging.getLogger("django_connmgr.replicas")

#: Seconds from one look at a replica that is behind to the next: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.008


class Unfit(Exception):
    """A server was leased from that is not to be read from: another one may be."""


class Reader:
    """Leads one wrapper from server to server until one is fit to be read from."""

    def __init__(self, role: ReadingRole) -> None:
        self.role = role
        #: ``None`` while that is the primary.
        self.host: Host | None = None
        #: Whether what is leased from it was found fit, and how far it was required to be.
        self._is_fit = False
        self._required: Position | None = None
        #: When the connection was opened that was leased last.
        self._opened_at = 0.0
        self._attempt = Attempt()

    def choose(self, *, is_pooled: bool) -> dict[str, Any]:
        """The settings of the server that this unit of work reads from.

        Without a pool no server is asked how far it is: what has to be seen is read from the
        primary.
        """
        self._is_fit = not is_pooled
        if not is_pooled and required_of(self.role.primary) is not None:
            self.host = None
            return self.role.settings_of_primary()
        if not self._attempt.tried:
            self._attempt.clear()
        self.host, settings = self.role.choose(self._attempt)
        return settings

    def check(self, driver: Any, physical: Physical) -> None:
        """Raise ``Unfit`` if the server, just leased from, takes writes, or lacks one to be seen.

        No round trip if it is known to have replayed that. If not, it is asked once; and if all
        servers lack it, the one that is furthest is asked again and again, for ``WAIT`` seconds.
        """
        host, required = self.host, required_of(self.role.primary)
        self._opened_at = physical.opened_at
        if host is not None:
            if driver.is_standby(physical.raw) is False:
                self.role.note_promotion(host)
                raise Unfit
            if not host.has_replayed(required, self._opened_at):
                self._await(host, driver, physical.raw, required)
        self._required, self._is_fit = required, True
        if self._attempt.tried:
            self._attempt.clear()

    def _await(self, host: Host, driver: Any, raw: Any, required: Any) -> None:
        attempt = self._attempt
        is_last = host in attempt.behind
        deadline = time.monotonic() + (app_settings().WAIT if is_last else 0.0)
        pause = FIRST_PAUSE
        while not self._has_replayed(host, driver, raw, required):
            left = deadline - time.monotonic()
            if left <= 0:
                attempt.behind.add(host)
                attempt.has_waited = is_last
                raise Unfit
            time.sleep(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _has_replayed(self, host: Host, driver: Any, raw: Any, required: Position) -> bool:
        """Ask the server: one round trip."""
        asked_at = time.monotonic()
        try:
            report = driver.report_of(raw)
        except driver.error as error:
            logger.debug("%s does not tell how far it is: %s", host.name, error)
            return False
        position = None if report is None else report.position
        self.role.hosts.note_position(host, position, asked_at)
        return position is not None and position.has_reached(required)

    def must_move(self) -> bool:
        """Whether the server, leased from before, is not fit for what is read now."""
        host = self.host
        if host is None:
            return get_mode().is_strict
        if not self._is_fit:
            return True  # An interruption came before it was found to be.
        required = required_of(self.role.primary)
        if required != self._required and not host.has_replayed(required, self._opened_at):
            return True
        return lags_too_much(host)

    def leave(self, error: BaseException | None) -> bool:
        """Choose another server from here on; false if this was the primary already.

        ``error`` says why the server cannot be reached, if that is so.
        """
        if self.host is None:
            return False
        if error is not None:
            self.role.note_failure(self.host, error)
        self._attempt.tried.add(self.host)
        return True

    def time_left(self, timeout: float) -> float:
        """What is left of the time of a checkout that tries one server after the other."""
        return self._attempt.time_left(timeout)

    def settle(self, *, is_well: bool) -> None:
        """The statement or checkout is over; ``is_well``: the server answered."""
        if self._attempt.tried:
            self._attempt.clear()
        if is_well and self.host is not None:
            self.role.note_success(self.host)
