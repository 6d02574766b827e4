"""``CONNMGR``: the settings of a project that are not those of one pool, and their one accessor."""

import difflib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


@dataclass(frozen=True)
class AppSettings:
    """What may stand in ``CONNMGR``; replicas' keys first, which ``docs/replicas.md`` explains."""

    #: What a read may miss: ``"session"``, ``"eventual"`` or ``"primary"``.
    CONSISTENCY: str = "session"
    #: How units of work are spread over hosts.
    BALANCE: str = "least_leases"
    #: Where to read when no replica can be reached, and when all lag: ``"primary"``, or
    #: ``"error"``; and for the latter ``"least_lagged"``.
    ON_NO_REPLICA: str = "primary"
    ON_ALL_LAGGING: str = "primary"
    #: How it is known that a unit has written: by its ``"statements"``, or also by asking the
    #: server before each commit whether the transaction has an ``"xid"``.
    WRITE_DETECTION: str = "statements"
    #: Seconds from one look at all servers to the next; 0: never.
    PROBE_INTERVAL: float = 1.0
    #: One that is further behind is not read from until it is at half of that.
    MAX_LAG_SECONDS: float = 10.0
    MAX_LAG_BYTES: float = 64 * 1024 * 1024
    #: For how many seconds a read waits for a replica to replay what its client wrote.
    WAIT: float = 0.05
    #: For how many seconds a client is known to have written, where replicas tell how far they
    #: are, and how it is remembered; ``CARRIER_KEY``: under which key of Django's cache.
    TOKEN_TTL: float = 60.0
    CARRIER: str = "cookie"
    CARRIER_KEY: str | Callable[..., str | None] = "django_connmgr.consistency.carriers.session_key"
    #: Where they do not tell: for how many seconds it reads from the primary; 0: not at all.
    STICKY_SECONDS: float = 2.0
    #: Models (``"app.Model"``) and applications (``"app"``) that are only read on the primary.
    ALWAYS_PRIMARY: tuple[str, ...] = ()

    #: Whether this process answers ``manage.py connmgr``, and in which directory; ``None``: one
    #: of the user's. ``docs/inspection.md`` explains these.
    INSPECT: bool = True
    RUNTIME_DIR: str | os.PathLike[str] | None = None
    #: What the processes of one project have in common; by default the first part of ROOT_URLCONF.
    PROJECT: str = ""
    #: Whether the query of an asynchronous request is cancelled whose client has gone.
    CANCEL_ON_DISCONNECT: bool = False
    #: Whether pools measure how long connects, waits and uses take.
    METRICS: bool = False
    #: What runs, for ``connmgr budget``: ``{"web": (hosts, processes on each)}``.
    PROCESSES: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Who may see the page, and who may steer from it: functions of a request, or their paths;
    #: ``None``: staff, and superusers.
    PAGE_ACCESS: str | Callable[..., bool] | None = None
    PAGE_STEERING: str | Callable[..., bool] | None = None
    #: The signal that writes a report to the log.
    REPORT_SIGNAL: str | None = None


#: What reads may miss: nothing that their unit of work wrote, that too, nothing at all.
LEVELS = ("session", "eventual", "primary")

_WORDS = {
    "CONSISTENCY": LEVELS,
    "BALANCE": ("least_leases", "round_robin", "random"),
    "ON_NO_REPLICA": ("primary", "error"),
    "ON_ALL_LAGGING": ("primary", "least_lagged", "error"),
    "WRITE_DETECTION": ("statements", "xid"),
    "CARRIER": ("cookie", "cache", "header"),
}
_NAMES = [field.name for field in fields(AppSettings)]


def find_problems(given: Any) -> list[tuple[str, str]]:
    """What is wrong with ``CONNMGR``, and what to do about it."""
    if not isinstance(given, dict):
        return [(f"CONNMGR is {given!r}.", "It takes a dict.")]
    problems = []
    for name, value in given.items():
        if name not in _NAMES:
            near = difflib.get_close_matches(str(name), _NAMES, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It takes: {', '.join(_NAMES)}."
            problems.append((f"CONNMGR has an unknown key {name!r}.", hint))
            continue
        is_right, expected = _TAKES[name]
        if not is_right(value):
            problems.append((f"CONNMGR[{name!r}] is {value!r}.", f"It takes {expected}."))
    return problems


def _is_amount(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < float("inf")


def _are_labels(value: Any) -> bool:
    return isinstance(value, (list, tuple, set)) and all(isinstance(one, str) for one in value)


def _is_key(value: Any) -> bool:
    return callable(value) or isinstance(value, str)


def _is_permission(value: Any) -> bool:
    return value is None or _is_key(value)


def _is_directory(value: Any) -> bool:
    return value is None or isinstance(value, (str, os.PathLike))


def _is_signal(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in signal.Signals.__members__)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _are_processes(value: Any) -> bool:
    """``{"web": (2, 6)}``: how many hosts, and how many processes on each."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(pair, (tuple, list))
        and len(pair) == 2
        and all(type(number) is int and number > 0 for number in pair)
        for name, pair in value.items()
    )


Rule = tuple[Callable[[Any], bool], str]

_SECONDS: Rule = (_is_amount, "seconds, 0 or more")
_PERMISSION: Rule = (_is_permission, "a function of a request, its dotted path, or None")
_BOOLEAN: Rule = (_is_bool, "True or False")


def _one_of(words: tuple[str, ...]) -> Rule:
    return (words.__contains__, " or ".join(map(repr, words)))


#: What each key takes: whether a value is right, and what would be.
_TAKES: dict[str, Rule] = {
    **{name: _one_of(words) for name, words in _WORDS.items()},
    "PROBE_INTERVAL": _SECONDS,
    "MAX_LAG_SECONDS": _SECONDS,
    "WAIT": _SECONDS,
    "TOKEN_TTL": _SECONDS,
    "STICKY_SECONDS": _SECONDS,
    "MAX_LAG_BYTES": (_is_amount, "bytes, 0 or more"),
    "CARRIER_KEY": (_is_key, "a function of a request, or where to import it from"),
    "ALWAYS_PRIMARY": (_are_labels, "a list of strings: 'app' or 'app.Model'"),
    "INSPECT": _BOOLEAN,
    "RUNTIME_DIR": (_is_directory, "the path of a directory, or None"),
    "PROJECT": (lambda value: isinstance(value, str), "a string"),
    "CANCEL_ON_DISCONNECT": _BOOLEAN,
    "METRICS": _BOOLEAN,
    "PROCESSES": (_are_processes, "a dict such as {'web': (2, 6)}: hosts, processes on each"),
    "PAGE_ACCESS": _PERMISSION,
    "PAGE_STEERING": _PERMISSION,
    "REPORT_SIGNAL": (_is_signal, "the name of a signal, such as 'SIGUSR2', or None"),
}


_current: AppSettings | None = None


def app_settings() -> AppSettings:
    """The settings as they are; raises ``ImproperlyConfigured`` for wrong ones."""
    global _current  # noqa: PLW0603 - asked on the way of every read
    if _current is None:
        given = getattr(settings, "CONNMGR", {})
        problems = find_problems(given)
        if problems:
            raise ImproperlyConfigured(" ".join(f"{text} {hint}" for text, hint in problems))
        labels = tuple(label.lower() for label in given.get("ALWAYS_PRIMARY", ()))
        _current = AppSettings(**{**given, "ALWAYS_PRIMARY": labels})
    return _current


def _forget(setting: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    global _current  # noqa: PLW0603
    if setting == "CONNMGR":
        _current = None


setting_changed.connect(_forget, dispatch_uid="django_connmgr.app_settings")
