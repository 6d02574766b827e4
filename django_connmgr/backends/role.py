"""The reading role: one alias, and behind it the servers that replicate a primary."""

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .._pool.hosts import Host, Hosts
from ..app_settings import app_settings
from ..clusters import find_problems, hosts_of, primary_of
from ..consistency.memory import find_outermost
from ..exceptions import NoReplica
from ..units.unit import Unit

logger = logging.getLogger("django_connmgr.replicas")

#: How settings are made read-only: the engine knows.
Restrict = Callable[[dict[str, Any]], dict[str, Any]]


class ReadingRole:
    """Chooses a server for each unit of work, and another one if that cannot be reached.

    A choice is a dict of settings, which the wrapper has for ``settings_dict`` from then on: so
    the pool, and all else that depends on settings, follow without knowing of roles. One for
    each alias, shared by the wrappers of all threads.
    """

    def __init__(self, alias: str, restrict: Restrict) -> None:
        self.alias = alias
        self.primary = str(primary_of(alias))
        #: In tests the alias is a mirror of the primary's, and of no server of its own.
        self.is_mirror = False
        #: What connections to each host are opened with.
        self.settings: dict[Host, dict[str, Any]] = {}
        for label, weight, settings in hosts_of(alias):
            self.settings[Host(label, weight)] = restrict(settings)
        self.hosts = Hosts(self.settings, time.monotonic)
        # Guards the next field; nothing is done under it. A finaliser that queries, and strikes
        # while its thread has it, may take it again.
        self._lock = threading.RLock()
        self._pins: WeakKeyDictionary[Unit, Host | None] = WeakKeyDictionary()

    def choose(self, tried: AbstractSet[Host] = frozenset()) -> tuple[Host | None, dict[str, Any]]:
        """The host of this unit of work, and its settings; ``None`` stands for the primary.

        Not one of those ``tried``, that this thread could not reach. Raises ``NoReplica``.
        """
        if self.is_mirror:
            return None, self._settings_of_primary()
        unit = find_outermost()
        if unit is None:
            return self._with_settings(self._pick(tried))
        with self._lock:
            is_pinned, host = unit in self._pins, self._pins.get(unit)
        if not is_pinned or host in tried:
            host = self._pick(tried)
            with self._lock:
                # Another thread of the unit may have been faster.
                if self._pins.setdefault(unit, host) in tried:
                    self._pins[unit] = host
                host = self._pins[unit]
        return self._with_settings(host)

    def note_failure(self, host: Host, error: BaseException) -> None:
        """A host could not be reached."""
        if self.hosts.note_failure(host):
            logger.warning(
                "The replica %s of %r cannot be reached: %s", host.name, self.primary, error
            )

    def note_success(self, host: Host) -> None:
        """A host answered."""
        if self.hosts.note_success(host):
            logger.info("The replica %s of %r is back.", host.name, self.primary)

    def be_mirror(self, _: object) -> None:
        """In the place of ``creation.set_as_test_mirror()``: read from the primary itself.

        And in that of ``setup_worker_connection()``, in processes that run tests in parallel.
        """
        self.is_mirror = True

    @property
    def first_settings(self) -> dict[str, Any]:
        """Of any server, for what looks at settings before anything is leased."""
        return next(iter(self.settings.values()))

    def _pick(self, tried: AbstractSet[Host]) -> Host | None:
        host = self.hosts.choose(app_settings().BALANCE, other_than=tried)
        if host is None and app_settings().ON_NO_REPLICA == "error":
            names = ", ".join(f"{host.name} ({host.state.value})" for host in self.hosts.all)
            raise NoReplica(
                f"No replica of {self.primary!r} can be read from: {names}. Bring one back, or set "
                f"CONNMGR['ON_NO_REPLICA'] to 'primary'."
            )
        return host

    def _with_settings(self, host: Host | None) -> tuple[Host | None, dict[str, Any]]:
        return host, self._settings_of_primary() if host is None else self.settings[host]

    def _settings_of_primary(self) -> dict[str, Any]:
        """As they are now: in tests the database has another name."""
        primary, own = connections.settings[self.primary], self.first_settings
        names = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
        return {**own, **{name: primary[name] for name in names}, "LABEL": self.primary}


#: The roles of the process, each with the settings that it was made from.
_roles: dict[str, tuple[dict[str, Any], ReadingRole]] = {}
_roles_lock = threading.RLock()  # So that all threads have the same one; as the role's own.


def find_role(alias: str, settings: dict[str, Any], restrict: Restrict) -> ReadingRole | None:
    """The role of an alias; ``None`` if it is no replica's. Raises ``ImproperlyConfigured``."""
    if "replica_of" not in settings["OPTIONS"] or alias not in connections.settings:
        return None
    problems = find_problems(alias)
    if problems:
        text = " ".join(f"{message} {hint}" for message, hint in problems)
        raise ImproperlyConfigured(f"DATABASES[{alias!r}]: {text}")
    with _roles_lock:
        known = _roles.get(alias)
        if known is None or known[0] is not settings:
            known = _roles[alias] = settings, ReadingRole(alias, restrict)
    return known[1]


class Reader:
    """What one wrapper of a role's alias reads from at present."""

    def __init__(self, role: ReadingRole) -> None:
        self.role = role
        #: ``None`` while that is the primary.
        self.host: Host | None = None
        #: Those that the present checkout or statement could not have, and since when it tries.
        self._tried: set[Host] = set()
        self._began = 0.0

    def choose(self) -> dict[str, Any]:
        """The settings of the server that this unit of work reads from."""
        if not self._tried:
            self._began = time.monotonic()
        self.host, settings = self.role.choose(self._tried)
        return settings

    def leave(self, error: BaseException | None) -> bool:
        """Choose another server from here on; false if this was the primary already.

        ``error`` says why the server cannot be reached, if that is so.
        """
        if self.host is None:
            return False
        if error is not None:
            self.role.note_failure(self.host, error)
        self._tried.add(self.host)
        return True

    def time_left(self, timeout: float) -> float:
        """What is left of the time of a checkout that tries one server after the other."""
        return max(timeout - (time.monotonic() - self._began), 0.0)

    def settle(self, *, is_well: bool) -> None:
        """The statement or checkout is over; ``is_well``: the server answered."""
        self._tried.clear()
        if is_well and self.host is not None:
            self.role.note_success(self.host)
