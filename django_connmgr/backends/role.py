"""The reading role: one alias, and behind it the servers that replicate a primary."""

import logging
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .._pool.host import DOWN, PROMOTED, UP, Change, Host
from .._pool.hosts import Hosts
from ..app_settings import app_settings
from ..clusters import addresses_of, choices_of, find_problems, hosts_of, primary_of
from ..consistency.memory import find_outermost
from ..consistency.modes import get_mode
from ..consistency.tokens import required_of
from ..exceptions import NoReplica
from ..signals import replica_state_changed
from ..units.unit import Unit
from .attempt import Attempt
from .monitor import monitor_of
from .monitor import thread as monitor_thread
from .probe import Probe

logger = logging.getLogger("django_connmgr.replicas")


class ReadingRole:
    """Chooses a server for each unit of work, and another one if that cannot be reached.

    A choice is a dict of settings, which the wrapper has for ``settings_dict`` from then on: so
    the pool, and all else that depends on settings, follow without knowing of roles. One for
    each alias, shared by the wrappers of all threads, which are of the class ``engine``.
    """

    def __init__(self, alias: str, given: dict[str, Any], engine: Any) -> None:
        self.alias = alias
        self.primary = str(primary_of(alias))
        #: In tests the alias is a mirror of the primary's, and of no server of its own.
        self.is_mirror = False
        self.given, self._engine = given, engine
        #: What connections to each host are opened with.
        self.settings: dict[Host, dict[str, Any]] = {}
        for label, weight, is_endpoint, settings in hosts_of(alias):
            host = Host(label, weight, is_endpoint)
            self.settings[host] = engine.restrict_to_reading(settings)
        self.hosts = Hosts(self.settings, time.monotonic)
        self.monitor = monitor_of(self.primary)
        self._pins: WeakKeyDictionary[Unit, Host | None] = WeakKeyDictionary()
        self._make_lock()

    def _make_lock(self) -> None:
        # Guards the pins; nothing is done under it. A finaliser that queries, and strikes while
        # its thread has it, may take it again.
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """In a forked child: another thread may have had the locks."""
        self._make_lock()
        self.hosts.after_fork()

    # Choosing

    def choose(self, attempt: Attempt) -> tuple[Host | None, dict[str, Any]]:
        """The host of this unit of work, and its settings; ``None`` stands for the primary.

        Not one of those that the attempt tried. Raises ``NoReplica``.
        """
        if self.is_mirror:
            self._pick(attempt)  # It may raise, as it would where there are servers.
            return None, self.settings_of_primary()
        if not self.hosts.is_probed:
            self.monitor.watch(self)
        unit = find_outermost()
        if unit is None:
            return self._with_settings(self._pick(attempt))
        with self._lock:
            is_pinned, host = unit in self._pins, self._pins.get(unit)
        if not is_pinned or host in attempt.tried or not _may_be_read(host):
            left = {*attempt.tried, host} if is_pinned else attempt.tried
            host = self._pick(attempt)
            with self._lock:
                # Another thread of the unit may have been faster.
                if self._pins.setdefault(unit, host) in left:
                    self._pins[unit] = host
                host = self._pins[unit]
        return self._with_settings(host)

    def _pick(self, attempt: Attempt) -> Host | None:
        settings, mode = app_settings(), get_mode()
        required, latest = required_of(self.primary), self.monitor.latest
        if required is not None and latest is not None and required.timeline != latest.timeline:
            return None  # A promotion came in between: the new primary alone tells what is left.
        host = self.hosts.choose(
            settings.BALANCE,
            other_than=attempt.tried,
            required=required,
            max_lag=mode.max_lag,
            may_lag=settings.ON_ALL_LAGGING == "least_lagged",
        )
        if host is None and attempt.behind:
            return None if attempt.has_waited else self.hosts.furthest(attempt.behind)
        if host is None:
            self._refuse_primary(is_strict=mode.is_strict)
        return host

    def _refuse_primary(self, *, is_strict: bool) -> None:
        """Raise ``NoReplica`` where the primary is not to read instead."""
        hosts, name = self.hosts.all, "ON_NO_REPLICA"
        if any(host.is_lagging and host.why_excluded == "lagging" for host in hosts):
            name = "ON_ALL_LAGGING"
        if is_strict:
            hint = "leave out using_replica(strict=True)"
        elif getattr(app_settings(), name) == "error":
            hint = f"set CONNMGR[{name!r}] to 'primary'"
        else:
            return
        states = ", ".join(f"{host.name} ({host.why_excluded or 'up'})" for host in hosts)
        raise NoReplica(
            f"No replica of {self.primary!r} can be read from: {states}. Bring one back, or {hint}."
        )

    # Settings

    @property
    def first_settings(self) -> dict[str, Any]:
        """Of any server, for what looks at settings before anything is leased."""
        return next(iter(self.settings.values()))

    def _with_settings(self, host: Host | None) -> tuple[Host | None, dict[str, Any]]:
        return host, self.settings_of_primary() if host is None else self.settings[host]

    def settings_of_primary(self) -> dict[str, Any]:
        """As they are now: in tests the database has another name."""
        primary, own = connections.settings[self.primary], self.first_settings
        names = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
        options = {**own["OPTIONS"], **choices_of(primary)}
        given = {name: primary[name] for name in names}
        return {**own, **given, "OPTIONS": options, "LABEL": self.primary}

    def be_mirror(self, _: object) -> None:
        """In the place of ``creation.set_as_test_mirror()``: read from the primary itself.

        And in that of ``setup_worker_connection()``, in processes that run tests in parallel.
        """
        self.is_mirror = True

    # What was learnt of a host

    @property
    def is_current(self) -> bool:
        """Whether there are servers to ask: not for settings of before, nor for a mirror."""
        return not self.is_mirror and connections.settings.get(self.alias) is self.given

    @property
    def can_probe(self) -> bool:
        return bool(self._engine.can_probe)

    def addresses_of(self, host: Host | None) -> list[dict[str, Any]]:
        """The settings of a host, or those of each address that the primary may have, as of now."""
        if host is not None:
            return [self.settings[host]]
        return addresses_of(connections.settings[self.primary])

    def make_probe(self, host: Host | None, settings: dict[str, Any]) -> Probe:
        """What asks a server at one of its addresses."""
        alias = self.primary if host is None else self.alias
        probe: Probe = self._engine.make_probe(settings, alias)
        return probe

    def note_refused_probe(self, host: Host | None, error: BaseException) -> None:
        """A probe failed: if user and password were refused, the next one asks for others."""
        for settings in self.addresses_of(host):
            self._engine.forget_credentials(settings, error)

    def note_failure(self, host: Host, error: BaseException) -> None:
        """A host could not be reached by a unit of work."""
        self.tell(self.hosts.note_failure(host), str(error).strip())

    def note_success(self, host: Host) -> None:
        """A host answered a unit of work."""
        if host.is_tried or host.state is DOWN:
            self.tell(self.hosts.note_success(host), "it answers")

    def note_promotion(self, host: Host) -> None:
        """A host takes writes."""
        self.tell(self.hosts.note_promotion(host), "it takes writes")

    def tell(self, change: Change | None, reason: str) -> None:
        """Log a change and send a signal, if there was one. What was open to a lost one ends."""
        if change is None:
            return
        host, before, after = change
        if after in {DOWN, PROMOTED} and host.pool is not None:
            host.pool.recycle()
        logger.log(
            logging.INFO if after is UP else logging.WARNING,
            "The replica %s of %r is %s, and was %s: %s",
            *(host.name, self.primary, after.value, before.value, reason),
        )
        replica_state_changed.send_robust(
            sender=ReadingRole,
            primary=self.primary,
            alias=self.alias,
            name=host.name,
            before=before.value,
            after=after.value,
            reason=reason,
        )


def _may_be_read(host: Host | None) -> bool:
    """Whether a unit of work may stay with its host, as far as is known now."""
    if host is None:
        return not get_mode().is_strict
    return host.state not in {DOWN, PROMOTED} and not lags_too_much(host)


def lags_too_much(host: Host | None) -> bool:
    """Whether a host is further behind than ``using_replica(max_lag=...)`` around here allows."""
    max_lag = get_mode().max_lag
    if max_lag is None or host is None:
        return False
    lag = host.lag
    return lag is None or lag.seconds > max_lag


#: The roles of the process.
_roles: dict[str, ReadingRole] = {}
_roles_lock = threading.RLock()  # So that all threads have the same one; as the role's own.


def find_role(alias: str, settings: dict[str, Any], engine: Any) -> ReadingRole | None:
    """The role of an alias; ``None`` if it is no replica's. Raises ``ImproperlyConfigured``."""
    if "replica_of" not in settings["OPTIONS"] or alias not in connections.settings:
        return None
    problems = find_problems(alias)
    if problems:
        text = " ".join(f"{message} {hint}" for message, hint in problems)
        raise ImproperlyConfigured(f"DATABASES[{alias!r}]: {text}")
    with _roles_lock:
        known = _roles.get(alias)
        if known is None or known.given is not settings:
            known = _roles[alias] = ReadingRole(alias, settings, engine)
    return known


def after_fork() -> None:
    """In a forked child: what is known of hosts stays, and nothing looks after them yet."""
    global _roles_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _roles_lock = threading.RLock()
    monitor_thread.after_fork()
    for role in _roles.values():
        role.after_fork()
        role.monitor.after_fork()
