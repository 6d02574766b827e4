"""``OPTIONS["pool"]``: what may stand there, and its one parser."""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.module_loading import import_string

from ._pool.limits import Limits, WrongValueError, conflicts, size_or_none, whole_number

#: What may stand between this process and the server, and share sessions among clients.
POOLERS = ("pgbouncer-transaction", "rds-proxy")
#: ``check_after`` where ``CONN_HEALTH_CHECKS`` is on and it is not given.
CHECK_AFTER_WITH_HEALTH_CHECKS = 0.5


@dataclass(frozen=True, kw_only=True)
class PoolOptions(Limits):
    """The options of one pool, of the right types. ``docs/options.md`` explains them."""

    reset: str | Callable[[Any], object] = "rollback"
    permanent_checkout: str = "allow"
    check: Callable[[Any], object] | None = None
    configure: Callable[[Any], object] | None = None
    credentials: Callable[[Any], object] | None = None
    behind: str | None = None


def given_option(settings: Mapping[str, Any], name: str) -> Any:
    """The value of one option of an alias that has a pool; ``None`` if it is not given, or wrong.

    For options that few have, and that are asked for where no pool is at hand.
    """
    pool = settings.get("OPTIONS", {}).get("pool")
    if not isinstance(pool, (Mapping, str)) or name not in pool:
        return None
    options, _ = parse_pool_options(pool)
    return getattr(options, name, None)


class Problem(NamedTuple):
    """Something wrong with the options, and what to do about it."""

    kind: str  # "unknown", "value", "conflict", or "ignored": the pool works without it
    message: str
    hint: str


def parse_pool_options(
    raw: object, *, health_checks: bool = False
) -> tuple[PoolOptions | None, list[Problem]]:
    """Options from ``OPTIONS["pool"]``, ``None`` for "no pool", and all that is wrong with them.

    Takes ``True``, a dict, or strings of a URL or an environment: ``"max_size=10,timeout=5m"``.
    """
    try:
        given = _as_mapping(raw)
    except WrongValueError as expected:
        return None, [Problem("value", f"OPTIONS['pool'] is {raw!r}.", f"It takes {expected}.")]
    if given is None:
        return None, []
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in given.items():
        if key not in _CONVERTERS:
            problems.append(_unknown(key))
            continue
        try:
            values[key] = _CONVERTERS[key](value)
        except WrongValueError as expected:
            message = f"Pool option {key!r} is {value!r}."
            problems.append(Problem("value", message, f"It takes {expected}."))
    wrong = given.keys() - values.keys()
    if health_checks:
        values.setdefault("check_after", CHECK_AFTER_WITH_HEALTH_CHECKS)
    options = PoolOptions(**values)
    for names, message, hint in (*conflicts(options), *_conflicts_behind(options)):
        if not names & wrong:
            problems.append(Problem("conflict", message, hint))
    return options, problems


def _conflicts_behind(options: PoolOptions) -> Iterator[tuple[set[str], str, str]]:
    """As ``conflicts()``, of what a pooler on the way does not go with."""
    if options.behind is not None and options.reset == "session":
        yield (
            {"reset", "behind"},
            f"Pool option 'reset' is 'session', but behind {options.behind!r} sessions are shared.",
            "Remove 'reset', and use SET LOCAL inside transactions.",
        )


def _as_mapping(raw: object) -> Mapping[str, object] | None:
    if raw is None or isinstance(raw, Mapping):
        return raw
    if isinstance(raw, str) and "=" in raw:
        pairs = (pair.partition("=") for pair in raw.split(",") if pair.strip())
        return {key.strip(): value.strip() for key, _, value in pairs}
    try:
        return {} if _boolean(raw) else None
    except WrongValueError:
        raise WrongValueError("True, False, or a dict of options") from None


def _unknown(key: str) -> Problem:
    if key in _FOREIGN:
        message = f"Pool option {key!r} is psycopg_pool's; this pool does not need it."
        return Problem("ignored", message, f"Remove it: {_FOREIGN[key]}.")
    near = difflib.get_close_matches(str(key), _CONVERTERS, n=1)
    known = ", ".join(sorted(_CONVERTERS))
    hint = f"Did you mean {near[0]!r}?" if near else f"The options are: {known}."
    return Problem("unknown", f"Unknown pool option {key!r}.", hint)


# Converters: each takes what a user may write, and returns the value or raises ``WrongValueError``.

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|d)?\s*", re.ASCII)
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise WrongValueError("True or False")


def _seconds(value: object) -> float:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match:
        return float(match[1]) * _UNITS[match[2] or "s"]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise WrongValueError("a number of seconds, 0 or more, such as 2.5, '2.5', '500ms' or '5m'")


def _positive_seconds(value: object) -> float:
    seconds = _seconds(value)
    if seconds == 0:
        raise WrongValueError("a number of seconds above 0, such as 2.5, '2.5', '500ms' or '5m'")
    return seconds


def _callable(value: object) -> Callable[[Any], object]:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise WrongValueError(f"a callable or its dotted path ({error})") from None
    if not callable(value):
        raise WrongValueError("a callable or its dotted path")
    return value


def _callable_or_none(value: object) -> Callable[[Any], object] | None:
    return None if value is None else _callable(value)


def _reset(value: object) -> str | Callable[[Any], object]:
    if value in ("rollback", "session"):
        return str(value)
    try:
        return _callable(value)
    except WrongValueError as wrong:
        raise WrongValueError(f"'rollback', 'session', or {wrong}") from None


def _one_of(*words: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if value not in words:
            raise WrongValueError(" or ".join(map(repr, words)))
        return str(value)

    return convert


def _pooler_or_none(value: object) -> str | None:
    if value is None or value == "None":
        return None
    try:
        return _one_of(*POOLERS)(value)
    except WrongValueError as wrong:
        raise WrongValueError(f"{wrong}, or None") from None


_CONVERTERS: dict[str, Callable[[object], Any]] = {
    "max_size": size_or_none,
    "min_size": whole_number(0),
    "timeout": _positive_seconds,
    "max_connecting": whole_number(1),
    "max_waiting": whole_number(0),
    "max_idle": _seconds,
    "max_lifetime": _seconds,
    "keepalive": _seconds,
    "reap_interval": _seconds,
    "check_after": _seconds,
    "release": _one_of("request", "transaction"),
    "reclaim": _boolean,
    "reset": _reset,
    "leak_threshold": _seconds,
    "slow_acquire": _seconds,
    "idle_transaction": _seconds,
    "permanent_checkout": _one_of("allow", "warn", "forbid"),
    "check": _callable_or_none,
    "configure": _callable_or_none,
    "credentials": _callable_or_none,
    "behind": _pooler_or_none,
}

#: Options of psycopg_pool that are accepted and ignored here, and why.
_FOREIGN = {
    "name": "a pool is named for its alias",
    "open": "it opens its first connection when one is needed",
    "num_workers": "the thread that needs a connection opens it",
    "reconnect_timeout": "a failed connect is raised at once, and the next checkout tries again",
    "reconnect_failed": "a failed connect is raised at once, and the next checkout tries again",
    "kwargs": "connection parameters stand in DATABASES",
    "connection_class": "the wrapped engine chooses it",
    "close_returns": "connection.close() always returns the connection to the pool",
}
