"""What one process may ask of each server: the bounds of the pools that lead to it."""

from collections import defaultdict
from typing import Any, NamedTuple

from django.db import connections

from ..clusters import find_clusters, hosts_of, primary_of
from ..conf import parse_pool_options

#: A monitor of replicas has one connection to each server.
PROBES = 1


class Address(NamedTuple):
    """A server, as settings lead to it."""

    vendor: str
    host: str
    port: str

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"{self.host or 'the local server'}{port}"


class Demand:
    """Of one process on one server: by alias the most connections, ``None`` for no bound."""

    def __init__(self) -> None:
        self.bounds: dict[str, int | None] = {}
        #: Connections of the monitor.
        self.probes = 0

    def most(self, threads: int | None) -> int | None:
        """The most connections of a process, of so many threads if that is known."""
        total = self.probes
        for bound in self.bounds.values():
            known = [number for number in (bound, threads) if number is not None]
            if not known:
                return None
            total += min(known)
        return total


def find_demands(aliases: list[str] | None = None) -> dict[Address, Demand]:
    """By server, of every pooled alias or of these."""
    demands: defaultdict[Address, Demand] = defaultdict(Demand)
    for alias in connections if aliases is None else aliases:
        wrapper: Any = connections[alias]
        bound = _bound_of(alias, wrapper)
        if bound is _NO_POOL:
            continue
        for settings in _settings_of(alias):
            demands[_address_of(wrapper.vendor, settings)].bounds[alias] = bound
    for primary, readers in find_clusters().items():
        servers = [connections.settings[primary], *(s for one in readers for s in _hosts_of(one))]
        for address in {_address_of(connections[primary].vendor, one) for one in servers}:
            if address in demands:
                demands[address].probes += PROBES
    return dict(demands)


_NO_POOL = -1


def _bound_of(alias: str, wrapper: Any) -> int | None:
    if not hasattr(wrapper, "borrower") or not wrapper.can_be_pooled():
        return _NO_POOL
    options, _ = parse_pool_options(connections.settings[alias]["OPTIONS"].get("pool", True))
    return _NO_POOL if options is None else options.max_size


def _hosts_of(alias: str) -> list[dict[str, Any]]:
    return [host.settings for host in hosts_of(alias)]


def _settings_of(alias: str) -> list[dict[str, Any]]:
    """Those that its pools may have: a replica's alias reads from the primary, too, at need."""
    primary = primary_of(alias)
    if primary is None:
        return [connections.settings[alias]]
    return [*_hosts_of(alias), connections.settings[primary]]


def _address_of(vendor: str, settings: dict[str, Any]) -> Address:
    if vendor == "sqlite":
        return Address(vendor, str(settings["NAME"]), "")
    return Address(vendor, settings["HOST"], str(settings["PORT"]))
