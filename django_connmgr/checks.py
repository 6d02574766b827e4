"""System checks. ``docs/checks.md`` explains each of them."""

import os
import re
from collections.abc import Iterator
from typing import Any

from django.conf import settings as project
from django.core import checks
from django.db import connections

from . import app_settings
from .backends.wrapper import PooledWrapper
from .conf import PoolOptions, Problem, parse_pool_options

#: The checks of options, by the kind of problem that they find.
_OPTION_CHECKS = {
    "unknown": (checks.Error, "connmgr.E001"),
    "value": (checks.Error, "connmgr.E002"),
    "conflict": (checks.Error, "connmgr.E003"),
    "ignored": (checks.Warning, "connmgr.W003"),
}


def check_pool_options(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """E001 unknown option, E002 wrong value, E003 contradiction, W003 option without effect."""
    messages: list[checks.CheckMessage] = []
    for alias, _, problems in _pooled_aliases():
        for problem in problems:
            message, id_ = _OPTION_CHECKS[problem.kind]
            text = f"DATABASES[{alias!r}]: {problem.message}"
            messages.append(message(text, hint=problem.hint, id=id_))
    return messages


def check_max_age(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """E004: ``CONN_MAX_AGE`` and a pool."""
    messages: list[checks.CheckMessage] = []
    for alias, options, _ in _pooled_aliases():
        age = connections.settings[alias]["CONN_MAX_AGE"]
        if age != 0 and options is not None:
            text = (
                f"DATABASES[{alias!r}]['CONN_MAX_AGE'] is {age!r}; "
                "a pooled connection outlives requests anyway."
            )
            hint = (
                "Remove CONN_MAX_AGE, and set OPTIONS['pool']['max_lifetime'] or 'max_idle' "
                "to bound the life of connections."
            )
            messages.append(checks.Error(text, hint=hint, id="connmgr.E004"))
    return messages


def check_server_threads(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """W002: more threads serve requests than there are connections for them."""
    messages: list[checks.CheckMessage] = []
    for source, threads in _server_threads():
        for alias, options, _ in _pooled_aliases():
            if options is None or options.max_size is None or options.max_size >= threads:
                continue
            text = (
                f"{source} starts {threads} threads in each process, and the pool of {alias!r} has "
                f"max_size={options.max_size}: threads may have to wait for each other's "
                "connections."
            )
            hint = (
                f"Set OPTIONS['pool']['max_size'] to {threads} or more, or hold connections only "
                "in with_connection() blocks."
            )
            messages.append(checks.Warning(text, hint=hint, id="connmgr.W002"))
    return messages


def check_app_settings(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """E005: ``CONNMGR``."""
    problems = app_settings.find_problems(getattr(project, "CONNMGR", {}))
    return [checks.Error(text, hint=hint, id="connmgr.E005") for text, hint in problems]


IN_APP = (
    check_pool_options,
    check_max_age,
    check_server_threads,
    check_app_settings,
)


def _pooled_aliases() -> Iterator[tuple[str, PoolOptions | None, list[Problem]]]:
    for alias in connections:
        wrapper = connections[alias]
        if isinstance(wrapper, PooledWrapper) and wrapper.can_be_pooled():
            pool = connections.settings[alias]["OPTIONS"].get("pool", True)
            yield alias, *parse_pool_options(pool)


def _server_threads() -> Iterator[tuple[str, int]]:
    """Servers whose number of threads shows in the environment."""
    match = re.search(r"--threads[= ]\s*(\d+)", os.environ.get("GUNICORN_CMD_ARGS", ""))
    if match:
        yield "GUNICORN_CMD_ARGS", int(match[1])
    threads = os.environ.get("ASGI_THREADS", "")
    if threads.isdecimal():
        yield "ASGI_THREADS", int(threads)
