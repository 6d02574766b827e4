"""The system check of ``OPTIONS["pool"]["behind"]``."""

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.db import connections

from .conf import given_option

_CHECKS = {
    "error": (checks.Error, "connmgr.E009"),
    "warning": (checks.Warning, "connmgr.W010"),
}
_SHARED = "behind {0!r} a session is shared with other clients"


def check_poolers(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """E009, W010: settings that a pooler between this process and the server does not go with."""
    messages: list[checks.CheckMessage] = []
    for alias in connections:
        settings = connections.settings[alias]
        pooler = given_option(settings, "behind")
        if pooler is None:
            continue
        for kind, what, why, hint in _find_contradictions(settings):
            message, id_ = _CHECKS[kind]
            text = f"DATABASES[{alias!r}]{what}, and {why.format(pooler)}."
            messages.append(message(text, hint=hint, id=id_))
    return messages


def _find_contradictions(settings: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    options = settings["OPTIONS"]
    if options.get("assume_role"):
        what = "['OPTIONS']['assume_role'] is set in the session"
        yield "error", what, _SHARED, "Connect as that role, or ALTER ROLE ... SET role."
    if settings.get("DISABLE_SERVER_SIDE_CURSORS") is False:
        what = "['DISABLE_SERVER_SIDE_CURSORS'] is False"
        why = _SHARED + ": a cursor would not outlive its transaction"
        yield "error", what, why, "Remove it: with 'behind' it is True."
    if options.get("prepare_threshold") is not None:
        what = "['OPTIONS']['prepare_threshold'] makes psycopg prepare statements"
        hint = "Remove it, unless PgBouncer is 1.21 or later and has max_prepared_statements."
        yield "warning", what, _SHARED, hint
    if options.get("options"):
        what = "['OPTIONS']['options'] is sent at connecting"
        why = "{0!r} refuses or drops what it cannot follow"
        yield "warning", what, why, "Use ALTER ROLE ... SET for what should hold always."
