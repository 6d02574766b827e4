"""``OPTIONS["pool"]["credentials"]``: users and passwords that are asked for, and that expire."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..conf import given_option
from ..exceptions import CredentialsError

logger = logging.getLogger("django_connmgr.backends")

#: They are renewed when this share of their life is left, but no earlier than so many seconds
#: before its end: a token has to be good until the server has looked at it.
MARGIN_SHARE, MARGIN_MOST = 0.2, 60.0
#: Credentials that are younger, in seconds, are not asked for anew because a server refused them:
#: others would be no better, and every connect of a crowd would ask.
YOUNG = 1.0
#: What servers and poolers say then. libpq hands out no SQLSTATE of a refused connection.
_REFUSALS = ("authentication failed", "no such user")


@dataclass(frozen=True)
class Credentials:
    """What to connect with, and for how long: what a function of ``credentials`` returns."""

    password: str = field(repr=False)
    #: ``None``: the ``USER`` of the settings.
    user: str | None = None
    #: For how many seconds from now connections can be opened with it; ``None``: until a server
    #: refuses it. Connections that are open outlive it.
    ttl: float | None = None

    def __post_init__(self) -> None:
        given: list[object] = [self.password, "" if self.user is None else self.user]
        if not all(isinstance(one, str) for one in given):
            raise TypeError("Credentials() takes strings for the password and the user.")
        is_number = isinstance(self.ttl, (int, float)) and not isinstance(self.ttl, bool)
        if self.ttl is not None and not (is_number and self.ttl > 0):
            raise ValueError(
                f"Credentials(ttl={self.ttl!r}): give a number of seconds above 0, or None."
            )


Ask = Callable[[Mapping[str, Any]], Credentials]


class Source:
    """The credentials for one address, asked for once in their life by this process.

    One thread asks, and the others wait for its answer, or go on with what is good still. It cannot
    deadlock, although the lock is held while a function of the project runs: nothing waits for it
    for longer than its own timeout.
    """

    def __init__(self, ask: Ask, settings: Mapping[str, Any]) -> None:
        self._ask = ask
        #: For the function; it has no use for the password that it replaces.
        self._settings = {name: value for name, value in settings.items() if name != "PASSWORD"}
        self._lock = threading.Lock()
        # Written under the lock, and read without. The credentials with the times, on the clock of
        # ``time.monotonic()``, when they were asked for, are to be renewed, and end.
        self._known: tuple[Credentials, float, float, float] | None = None
        self._asked = 0
        self._error: CredentialsError | None = None

    def get(self, timeout: float) -> Credentials:
        """Credentials that are good, within ``timeout`` seconds, the function's time not included.

        Raises ``CredentialsError`` if the function fails, or keeps another thread for longer.
        """
        known, seen, now = self._known, self._asked, time.monotonic()
        if known is not None and now < known[2]:
            return known[0]
        is_good = known is not None and now < known[3]
        if not self._lock.acquire(timeout=0 if is_good else max(timeout, 0)):
            if is_good and known is not None:
                return known[0]  # Another thread is about to renew them.
            raise CredentialsError(
                f"{self._name} has not returned within {timeout:g} s, on another thread."
            )
        try:
            return self._renew(seen)
        finally:
            self._lock.release()

    def _renew(self, seen: int) -> Credentials:
        """With the lock: what another thread was told meanwhile, or else ask."""
        known, now = self._known, time.monotonic()
        if known is not None and now < known[2]:
            return known[0]
        if self._asked != seen and self._error is not None:
            raise CredentialsError(str(self._error)) from self._error.__cause__
        try:
            given = self._call()
            self._error = None
        except CredentialsError as error:
            self._error = error
            if known is None or now >= known[3]:
                raise
            logger.warning("%s The ones before are used until they end.", error)
            return known[0]
        finally:
            self._asked += 1
        life = float("inf") if given.ttl is None else given.ttl
        margin = min(life * MARGIN_SHARE, MARGIN_MOST)
        # From before the call on: they may have been made at its beginning.
        self._known = (given, now, now + life - margin, now + life)
        return given

    def _call(self) -> Credentials:
        # Messages tell types only: what the function raises or returns may have a secret in it.
        try:
            given = self._ask(self._settings)
        except Exception as error:
            raise CredentialsError(f"{self._name} raised {type(error).__name__}.") from error
        if not isinstance(given, Credentials):
            raise CredentialsError(
                f"{self._name} returned {type(given).__name__}; it has to return "
                "django_connmgr.Credentials(password=...)."
            )
        return given

    @property
    def _name(self) -> str:
        ask = getattr(self._ask, "__qualname__", type(self._ask).__qualname__)
        return f"OPTIONS['pool']['credentials'] ({ask}) for {self._settings['HOST'] or 'localhost'}"

    def forget(self, password: str | None) -> bool:
        """A server refused this password, or the last one: whether there may be a better one."""
        known = self._known
        if known is None or password not in (known[0].password, None):
            return True  # Another thread has forgotten it, or has asked already.
        if time.monotonic() - known[1] < YOUNG:
            return False
        with self._lock:
            if self._known is known:
                self._known = None
        return True


_sources: dict[tuple[object, ...], Source] = {}
_sources_lock = threading.Lock()


def source_of(settings: Mapping[str, Any]) -> Source | None:
    """The source of credentials for an address; ``None`` if ``USER`` and ``PASSWORD`` are."""
    ask: Any = given_option(settings, "credentials")
    if ask is None:
        return None
    names = ("NAME", "USER", "HOST", "PORT")
    # By the function itself, which may have no hash; its source keeps it alive.
    key = (id(ask), *(str(settings[name]) for name in names))
    with _sources_lock:
        return _sources.get(key) or _sources.setdefault(key, Source(ask, settings))


def is_refusal(error: BaseException) -> bool:
    """Whether a server refused user and password, as far as can be known: by its English words."""
    text = str(error)
    return any(words in text for words in _REFUSALS)


def after_fork() -> None:
    """In a forked child: ask anew, because another thread may have had the locks."""
    global _sources_lock  # noqa: PLW0603
    _sources_lock = threading.Lock()
    _sources.clear()
