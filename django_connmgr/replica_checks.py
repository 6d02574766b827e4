"""System checks of replicas: their settings and, where a database is named, their servers."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.conf import settings as project
from django.core import checks
from django.db import Error, connections
from django.utils.module_loading import import_string

from . import clusters
from .middleware import UnitOfWorkMiddleware

# Whether the server is a standby; and whether the user may write to any table of the database.
_RIGHTS = """
SELECT pg_is_in_recovery(), EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname <> 'information_schema' AND nspname !~ '^pg_'
        AND has_table_privilege(pg_class.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
)
"""


def check_replicas(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """E006 wrong settings, E007 ``ATOMIC_REQUESTS``, E008 SERIALIZABLE, W004 no mirror in tests."""
    messages: list[checks.CheckMessage] = []
    for alias in (alias for aliases in clusters.find_clusters().values() for alias in aliases):
        here, own = f"DATABASES[{alias!r}]", connections.settings[alias]
        problems = clusters.find_problems(alias)
        messages.extend(
            checks.Error(f"{here}: {text}", hint=hint, id="connmgr.E006") for text, hint in problems
        )
        if own["ATOMIC_REQUESTS"]:
            text = f"{here}['ATOMIC_REQUESTS'] opens a transaction on a replica in each request."
            hint = "Set it for the primary only."
            messages.append(checks.Error(text, hint=hint, id="connmgr.E007"))
        if not problems and _is_serializable(alias):
            text = f"{here}: a standby takes no SERIALIZABLE transactions."
            hint = "Set another OPTIONS['isolation_level'] for it: REPEATABLE READ is a snapshot."
            messages.append(checks.Error(text, hint=hint, id="connmgr.E008"))
        primary = own["OPTIONS"]["replica_of"]
        if own["TEST"]["MIRROR"] != primary:
            text = f"{here}['TEST'] has no MIRROR, so tests make a second test database."
            hint = f"Set it to {{'MIRROR': {primary!r}}}."
            messages.append(checks.Warning(text, hint=hint, id="connmgr.W004"))
    return messages


def _is_serializable(alias: str) -> bool:
    """By its own options, or those that it has from the primary."""
    if connections[alias].vendor != "postgresql":
        return False
    # Later: there need not be a driver for PostgreSQL.
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    options = clusters.hosts_of(alias)[0].settings["OPTIONS"]
    words = str(options.get("options", "")).lower().replace(" ", "")
    return (
        options.get("isolation_level") == IsolationLevel.SERIALIZABLE
        or "default_transaction_isolation=serializable" in words
    )


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """W005: the middleware is not the first one."""
    for position, path in enumerate(project.MIDDLEWARE):
        with suppress(Exception):  # What cannot be imported is Django's to tell.
            found = import_string(path)
            if position and isinstance(found, type) and issubclass(found, UnitOfWorkMiddleware):
                text = f"{path} is not the first of MIDDLEWARE."
                hint = "Put it first: what other middleware does is outside of its unit of work."
                return [checks.Warning(text, hint=hint, id="connmgr.W005")]
    return []


def check_servers(
    databases: Iterable[str] | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> list[checks.CheckMessage]:
    """W006 a server that takes writes, W007 a user who might write, W008 a server out of reach."""
    return [
        message
        for alias in databases or ()
        if clusters.primary_of(alias) and connections[alias].vendor == "postgresql"
        if not clusters.find_problems(alias)
        for message in _ask_servers(alias)
    ]


def _ask_servers(alias: str) -> Iterator[checks.CheckMessage]:
    for host, settings in connections[alias].reader.role.settings.items():  # type: ignore[attr-defined]
        here = f"DATABASES[{alias!r}]: the server {host.name}"
        # A wrapper apart: the caller's may be in a transaction.
        wrapper = type(connections[alias])(settings, alias)
        try:
            with wrapper.cursor() as cursor:
                cursor.execute(_RIGHTS)
                is_standby, may_write = cursor.fetchone()
        except Error as error:
            text = f"{here} cannot be reached: {type(error.__cause__ or error).__name__}."
            hint = "Nothing is read from it. Start it, or correct its address, user and password."
            yield checks.Warning(text, hint=hint, id="connmgr.W008")
            continue
        finally:
            wrapper.close()
        if not is_standby:
            text = f"{here} takes writes."
            hint = "It is no standby, and not read from. Remove it, if it is not the primary."
            yield checks.Warning(text, hint=hint, id="connmgr.W006")
        elif may_write:
            text = f"{here} has a user that may write, should it be promoted."
            hint = "Give the replicas a USER who may only read. Its sessions are read-only anyway."
            yield checks.Warning(text, hint=hint, id="connmgr.W007")


IN_APP = (check_replicas, check_middleware)
WITH_DATABASE = (check_servers,)
