"""``replicas()``: the servers that replicate a primary, as this process knows them."""

from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from ._pool.hosts import Host
from .clusters import find_clusters


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """One server at one moment."""

    #: The alias that leads to it, and its ``LABEL``, or ``"host:port"``.
    alias: str
    name: str
    #: ``"up"``, ``"down"`` (it could not be reached), or ``"draining"`` (taken out by hand).
    state: str
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
                weight=host.weight,
                failures=host.failures,
                leased=host.count_leases(),
            )
            for alias, host in self._hosts()
        ]

    def drain(self, name: str) -> None:
        """Read from a server no more, in this process, until ``enable()``.

        Units of work that read from it go on. Raises ``KeyError`` for an unknown name.
        """
        self._role_of(name).hosts.drain(name)

    def enable(self, name: str) -> None:
        """Undo ``drain()``, and forget what failed. Raises ``KeyError`` for an unknown name."""
        self._role_of(name).hosts.enable(name)

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


def replicas(primary: str = DEFAULT_DB_ALIAS) -> Replicas:
    """The replicas of a primary; none, if no alias has it for ``OPTIONS["replica_of"]``."""
    return Replicas(primary)
