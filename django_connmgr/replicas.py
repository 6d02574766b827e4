"""``replicas()``: the servers that replicate a primary, as this process knows them."""

import time
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, NotSupportedError, OperationalError, connections
from django.db.transaction import TransactionManagementError

from ._pool.host import Host
from ._pool.hosts import Hosts
from ._pool.position import NOWHERE
from .app_settings import app_settings
from .clusters import find_clusters
from .consistency.tokens import ignored

#: Seconds from one look at what the monitor knows to the next.
PAUSE = 0.005


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """One server at one moment."""

    #: The alias that leads to it, and its ``LABEL``, or ``"host:port"``.
    alias: str
    name: str
    #: ``"up"``, ``"suspect"`` (it left a probe unanswered), ``"down"`` (it could not be reached),
    #: ``"probation"`` (it answers again), ``"promoted"`` (it takes writes), or ``"draining"``
    #: (taken out by hand).
    state: str
    #: Why it is not read from: its state, or ``"lagging"``; empty if it is.
    why_excluded: str
    #: How far it is behind the primary; ``None`` while that is unknown.
    lag_seconds: float | None
    lag_bytes: int | None
    #: How far it has replayed: its timeline and its position in the log, as in ``"1-0/3000148"``.
    replayed: str | None
    weight: float
    #: Attempts to reach it that failed since the last one that did not.
    failures: int
    #: Of its connections, those in use.
    leased: int


class Replicas:
    """The replicas of one primary, behind one alias or several."""

    def __init__(self, primary: str) -> None:
        self.primary = primary

    def status(self) -> list[ReplicaStatus]:
        """All of them, in the order of the settings. Sends nothing."""
        return [
            ReplicaStatus(
                alias=alias,
                name=host.name,
                state=host.state.value,
                why_excluded=host.why_excluded,
                lag_seconds=None if host.lag is None else host.lag.seconds,
                lag_bytes=None if host.lag is None else host.lag.bytes,
                replayed=None if host.replayed is None else str(host.replayed),
                weight=host.weight,
                failures=host.failures,
                leased=host.leased,
            )
            for alias, host in self._hosts()
        ]

    @property
    def ignored_tokens(self) -> int:
        """How many tokens this process was shown that were forged, damaged, or too old."""
        return ignored.value

    def wait(self, timeout: float) -> bool:
        """Wait until all replicas show what is committed by now, for up to ``timeout`` seconds.

        Not for those that are not read from, unless they only lag. False if one did not get that
        far in time. Raises ``NotSupportedError`` where replicas do not tell how far they are, and
        ``TransactionManagementError`` in a transaction, and ``OperationalError`` if the primary
        cannot be asked.
        """
        wrapper: Any = connections[self.primary]
        if wrapper.in_atomic_block:
            raise TransactionManagementError(
                "Nothing of this transaction can reach a replica yet: wait after its commit."
            )
        goal, roles = wrapper.log_position(), self._roles()
        if goal == NOWHERE:
            raise OperationalError(f"{self.primary!r} cannot be asked how far its log is.")
        is_probed = app_settings().PROBE_INTERVAL > 0 and all(role.can_probe for role in roles)
        if goal is None or not is_probed:
            raise NotSupportedError(
                "It is not known how far replicas are: that takes PostgreSQL, and "
                "CONNMGR['PROBE_INTERVAL'] above 0."
            )
        deadline, wanted = time.monotonic() + timeout, []
        try:
            for role in roles:
                role.monitor.watch(role)
                wanted.append(role.monitor)
                role.monitor.want(+1)
            while not all(_shows(host, goal) for role in roles for host in role.hosts.all):
                if time.monotonic() > deadline:
                    return False
                time.sleep(PAUSE)
        finally:
            for monitor in wanted:
                monitor.want(-1)
        return True

    def drain(self, name: str) -> None:
        """Read from a server no more, in this process, until ``enable()``.

        Units of work that read from it go on. Raises ``KeyError`` for an unknown name.
        """
        self._role_of(name).hosts.drain(name)

    def enable(self, name: str) -> None:
        """Undo ``drain()``, and forget what failed. Raises ``KeyError`` for an unknown name."""
        self._role_of(name).hosts.enable(name)

    def find_hosts(self) -> list[tuple[Hosts, Host]]:
        """The hosts themselves, and what chooses among them: for tests."""
        return [(role.hosts, host) for role in self._roles() for host in role.hosts.all]

    def _hosts(self) -> list[tuple[str, Host]]:
        return [(role.alias, host) for role in self._roles() for host in role.hosts.all]

    def _roles(self) -> list[Any]:
        readers = [getattr(connections[alias], "reader", None) for alias in self._aliases()]
        return [reader.role for reader in readers if reader is not None]

    def _aliases(self) -> list[str]:
        return find_clusters().get(self.primary, [])

    def _role_of(self, name: str) -> Any:
        for role in self._roles():
            if any(host.name == name for host in role.hosts.all):
                return role
        known = ", ".join(host.name for _, host in self._hosts()) or "none"
        raise KeyError(f"{self.primary!r} has no replica {name!r}; there are: {known}.")


def _shows(host: Host, goal: Any) -> bool:
    return host.why_excluded not in {"", "lagging"} or host.has_replayed(goal)


def replicas(primary: str = DEFAULT_DB_ALIAS) -> Replicas:
    """The replicas of a primary; none, if no alias has it for ``OPTIONS["replica_of"]``."""
    return Replicas(primary)


def wait_for_replicas(timeout: float = 5.0, *, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Wait until all replicas of a primary show what is committed by now; see ``Replicas.wait``."""
    return replicas(using).wait(timeout)
