"""``CONNMGR``: the settings of a project that are not those of one pool, and their one accessor."""

import difflib
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


@dataclass(frozen=True)
class AppSettings:
    """What may stand in ``CONNMGR``. ``docs/replicas.md`` explains it."""

    #: What a read may miss: ``"session"``, ``"eventual"`` or ``"primary"``.
    CONSISTENCY: str = "session"
    #: How units of work are spread over hosts.
    BALANCE: str = "least_leases"
    #: Where to read when no replica can be reached: ``"primary"``, or ``"error"``.
    ON_NO_REPLICA: str = "primary"
    #: For so many seconds after a request that wrote, its client reads from the primary; 0: not.
    STICKY_SECONDS: float = 2.0
    #: Models (``"app.Model"``) and applications (``"app"``) that are only read on the primary.
    ALWAYS_PRIMARY: tuple[str, ...] = ()


#: What reads may miss: nothing that their unit of work wrote, that too, nothing at all.
LEVELS = ("session", "eventual", "primary")

_WORDS = {
    "CONSISTENCY": LEVELS,
    "BALANCE": ("least_leases", "round_robin", "random"),
    "ON_NO_REPLICA": ("primary", "error"),
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
        elif name in _WORDS and value not in _WORDS[name]:
            words = " or ".join(map(repr, _WORDS[name]))
            problems.append((f"CONNMGR[{name!r}] is {value!r}.", f"It takes {words}."))
        elif name == "STICKY_SECONDS" and not _is_duration(value):
            problems.append((f"CONNMGR[{name!r}] is {value!r}.", "It takes seconds, 0 or more."))
        elif name == "ALWAYS_PRIMARY" and not _are_labels(value):
            hint = "It takes a list of strings: 'app' or 'app.Model'."
            problems.append((f"CONNMGR[{name!r}] is {value!r}.", hint))
    return problems


def _is_duration(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < float("inf")


def _are_labels(value: Any) -> bool:
    return isinstance(value, (list, tuple, set)) and all(isinstance(one, str) for one in value)


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
