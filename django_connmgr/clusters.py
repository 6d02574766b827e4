"""Which alias is a replica of which: ``OPTIONS["replica_of"]`` and ``OPTIONS["hosts"]``."""

import difflib
from typing import Any, NamedTuple

from django.db import connections

#: What may stand in an entry of ``hosts``.
HOST_KEYS = ("HOST", "PORT", "WEIGHT", "LABEL", "USER", "PASSWORD", "ENDPOINT")
#: Options that are ours, and not the driver's.
OPTIONS = ("replica_of", "hosts")


class HostSettings(NamedTuple):
    """One server of a reading role: how it is called, its share, and its connection settings."""

    label: str
    weight: float
    #: Its address leads to one of several servers, as that of a load balancer does.
    is_endpoint: bool
    settings: dict[str, Any]


def primary_of(alias: str) -> str | None:
    """The primary that ``alias`` is a replica of; ``None`` if it is none's."""
    return connections.settings[alias]["OPTIONS"].get("replica_of")  # type: ignore[no-any-return]


def find_clusters() -> dict[str, list[str]]:
    """The aliases of replicas, by their primary's."""
    clusters: dict[str, list[str]] = {}
    for alias in connections.settings:
        primary = primary_of(alias)
        if isinstance(primary, str):
            clusters.setdefault(primary, []).append(alias)
    return clusters


def find_problems(alias: str) -> list[tuple[str, str]]:
    """What is wrong with the settings of a replica, and what to do about it."""
    settings = connections.settings[alias]
    primary, problems = primary_of(alias), []
    if not isinstance(primary, str) or primary not in connections.settings:
        near = difflib.get_close_matches(str(primary), connections.settings, n=1)
        known = ", ".join(sorted(connections.settings))
        hint = f"Did you mean {near[0]!r}?" if near else f"The aliases are: {known}."
        problems.append((f"OPTIONS['replica_of'] is {primary!r}, which is no alias.", hint))
    elif primary == alias or primary_of(primary) is not None:
        problems.append((f"OPTIONS['replica_of'] is {primary!r}.", "Name a primary."))
    elif connections.settings[primary]["ENGINE"] != settings["ENGINE"]:
        problems.append(("ENGINE differs from its primary's.", "Use the same engine for both."))
    hosts = settings["OPTIONS"].get("hosts")
    if hosts is None:
        return problems
    if not isinstance(hosts, (list, tuple)) or not hosts:
        hint = "It takes a list with one dict or more, such as {'HOST': '10.0.0.2'}."
        return [*problems, ("OPTIONS['hosts'] is no list of servers.", hint)]
    problems.extend(problem for host in hosts for problem in _problems_of_host(host))
    if not problems:
        labels = [host.label for host in hosts_of(alias)]
        problems.extend(
            (f"OPTIONS['hosts'] has {label!r} twice.", "Name each server once.")
            for label in dict.fromkeys(labels)
            if labels.count(label) > 1
        )
    return problems


def _problems_of_host(host: Any) -> list[tuple[str, str]]:
    if not isinstance(host, dict) or not host.get("HOST"):
        return [("An entry of OPTIONS['hosts'] has no 'HOST'.", "Give it the server's address.")]
    problems = []
    for key in host.keys() - set(HOST_KEYS):
        near = difflib.get_close_matches(str(key), HOST_KEYS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It takes: {', '.join(HOST_KEYS)}."
        problems.append((f"An entry of OPTIONS['hosts'] has an unknown key {key!r}.", hint))
    if not isinstance(host.get("ENDPOINT", False), bool):
        problems.append((f"'ENDPOINT' is {host['ENDPOINT']!r}.", "It takes True or False."))
    weight = host.get("WEIGHT", 1)
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not 0 < weight < float("inf"):
        problems.append((f"'WEIGHT' is {weight!r}.", "It takes a number above 0."))
    return problems


def hosts_of(alias: str) -> list[HostSettings]:
    """The servers of a replica's alias, with all that they inherit from the primary."""
    settings = connections.settings[alias]
    entries = settings["OPTIONS"].get("hosts") or [
        {"HOST": settings["HOST"], "PORT": settings["PORT"]}
    ]
    base = _inherit(settings, connections.settings[str(primary_of(alias))])
    found = []
    for entry in entries:
        own = {key: entry[key] for key in ("HOST", "PORT", "USER", "PASSWORD") if key in entry}
        label = entry.get("LABEL") or f"{entry['HOST']}:{entry.get('PORT') or base['PORT']}"
        settings = {**base, **own, "LABEL": label}
        is_endpoint = entry.get("ENDPOINT", False)
        found.append(HostSettings(label, entry.get("WEIGHT", 1), is_endpoint, settings))
    return found


def addresses_of(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of each server, where ``HOST`` is a list of them as libpq takes it."""
    hosts, ports = str(settings["HOST"]).split(","), str(settings["PORT"]).split(",")
    options = {name: value for name, value in settings["OPTIONS"].items() if name not in _CHOICES}
    return [
        {**settings, "HOST": host, "PORT": ports[min(number, len(ports) - 1)], "OPTIONS": options}
        for number, host in enumerate(hosts)
    ]


def choices_of(primary: dict[str, Any]) -> dict[str, Any]:
    """The options by which libpq finds the primary among several, for sessions that only read."""
    options = {name: value for name, value in primary["OPTIONS"].items() if name in _CHOICES}
    if options.get("target_session_attrs") == "read-write":
        options["target_session_attrs"] = "primary"  # It would look at the session, not the server.
    return options


def _inherit(settings: dict[str, Any], primary: dict[str, Any]) -> dict[str, Any]:
    """What is not given for the replica is as for the primary."""
    inherited = {name: settings[name] or primary[name] for name in _INHERITED}
    inherited_options = {
        name: value for name, value in primary["OPTIONS"].items() if name not in _CHOICES
    }
    options = {**inherited_options, **settings["OPTIONS"]}
    return {
        **settings,
        **inherited,
        "OPTIONS": {name: value for name, value in options.items() if name not in OPTIONS},
    }


_INHERITED = ("NAME", "USER", "PASSWORD", "PORT", "TIME_ZONE")
#: Options by which libpq chooses among several addresses of a primary.
_CHOICES = ("target_session_attrs", "load_balance_hosts")
