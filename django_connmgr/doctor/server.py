"""Whether the server can be reached, has room, and is what it seems to be."""

import time
from typing import Any

from ..budget.supply import Supply, ask_postgresql
from .finding import Finding, failure, ok, skipped, warning
from .patient import Patient

#: A process that may take more than this part of the server is worth a word.
MUCH = 0.5
#: What is in an error of the driver's, and what to do then.
_ADVICE = (
    ("password authentication failed", "Correct USER and PASSWORD of this alias."),
    ("no password supplied", "Set PASSWORD of this alias, or what it is read from."),
    ("role", "Correct USER of this alias, or create that role."),
    ("database", "Correct NAME of this alias, or create that database."),
    ("could not translate host name", "Correct HOST of this alias, or the name service."),
    ("resolve host", "Correct HOST of this alias, or the name service."),
    ("Name or service not known", "Correct HOST of this alias, or the name service."),
    ("nodename nor servname", "Correct HOST of this alias, or the name service."),
    ("Connection refused", "Start the server, or correct HOST and PORT of this alias."),
    ("No such file", "Start the server, or correct HOST: its socket is not there."),
    ("too many", "The server is full: 'connmgr server' shows by whom, 'connmgr budget' the sum."),
    ("remaining connection slots", "The server is full: 'connmgr server' shows by whom."),
    ("SSL", "Compare OPTIONS['sslmode'] and the certificates with what the server asks for."),
)


def examine_reach(patient: Patient) -> Finding:
    """One connection and one query."""
    began = time.monotonic()
    try:
        lease = patient.acquire()
        patient.ask(lease, "SELECT 1")
    except Exception as error:
        said = " ".join(str(error).split())
        advice = next((advice for words, advice in _ADVICE if words in said), "")
        return failure(
            f"The server cannot be used: {said}",
            advice or "Correct HOST, PORT and OPTIONS of this alias, or start the server.",
        )
    lease.release()
    took = (time.monotonic() - began) * 1000
    return ok(f"The server answers; connecting and a query took {took:.0f} ms.")


def examine_room(patient: Patient) -> Finding:
    """Whether one process fits into the limits of server, role and database."""
    if not patient.is_postgresql:
        return skipped("A file takes any number of connections.")
    lease = patient.acquire()
    try:
        limits = {"the server": ask_postgresql(lambda sql: _row(patient, lease, sql))}
        for name, sql in _LIMITS.items():
            limit = patient.ask(lease, sql)
            if limit is not None and limit >= 0:
                limits[name] = Supply(limit)
    finally:
        lease.release()
    name, supply = min(limits.items(), key=lambda item: item[1].available or 0)
    available, most = supply.available or 0, patient.options.max_size
    if most is None:
        return warning(
            f"max_size is None, and {name} takes {available} connections in all.",
            "Set OPTIONS['pool']['max_size'], so that one process cannot take all of them.",
        )
    if most > available:
        return failure(
            f"max_size is {most}, and {name} takes {available} connections in all.",
            f"Lower OPTIONS['pool']['max_size']: {available} divided by the number of processes.",
        )
    if most > MUCH * available:
        return warning(
            f"max_size is {most}: one process may take most of the {available} connections of "
            f"{name}.",
            "Count all processes with 'manage.py connmgr budget'.",
        )
    return ok(f"max_size is {most}, and {name} takes {available} connections in all.")


_LIMITS = {
    "this role": "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user",
    "this database": ("SELECT datconnlimit FROM pg_database WHERE datname = current_database()"),
}


def _row(patient: Patient, lease: Any, sql: str) -> Any:
    return patient.driver.fetch_one(lease.connection.raw, sql)


def examine_pooler(patient: Patient) -> Finding:
    """Whether PgBouncer or the like is in between, how it pools, and what contradicts that."""
    if not patient.is_postgresql:
        return skipped("No pooler stands before a file.")
    first, second = patient.acquire(), None
    try:
        # A pooler tells its clients numbers of its own.
        told = patient.driver.pid_of(first.connection.raw)
        if told == patient.identify(first):
            return ok("No pooler is in between.")
        if patient.size < 2:
            return warning(
                "A pooler is in between; with max_size=1 it cannot be seen how it pools.",
                "Read docs/pgbouncer.md.",
            )
        second = patient.acquire()
        patient.shares_server_connections = _are_shared(patient, first, second)
    finally:
        first.release()
        if second is not None:
            second.release()
    if not patient.shares_server_connections:
        return ok("A pooler is in between, in session mode.")
    contradictions = _find_session_features(patient)
    if contradictions:
        return failure(
            "A pooler is in between, in transaction mode, and "
            + ", ".join(text for text, _ in contradictions)
            + ".",
            " ".join(advice for _, advice in contradictions),
        )
    return ok("A pooler is in between, in transaction mode, and no setting contradicts that.")


def _are_shared(patient: Patient, first: Any, second: Any) -> bool:
    """Whether two connections are served by one of the server's, each for a query."""
    # Three times, because other clients of the pooler may come in between.
    return any(patient.identify(first) == patient.identify(second) for _ in range(3))


def _find_session_features(patient: Patient) -> list[tuple[str, str]]:
    """Settings that need a session of their own, and what to set instead."""
    settings, options = patient.settings, patient.settings["OPTIONS"]
    candidates = (
        (
            not settings.get("DISABLE_SERVER_SIDE_CURSORS"),
            "server-side cursors are on",
            "Set DISABLE_SERVER_SIDE_CURSORS = True.",
        ),
        (
            options.get("prepare_threshold") is not None,
            "statements are prepared",
            "Remove OPTIONS['prepare_threshold'], or set PgBouncer's max_prepared_statements.",
        ),
        (
            patient.options.reset == "session",
            "reset is 'session'",
            "Set OPTIONS['pool']['reset'] = 'rollback'.",
        ),
        (
            bool(options.get("assume_role")),
            "assume_role is set",
            "Let the role log in itself.",
        ),
    )
    return [(text, advice) for is_on, text, advice in candidates if is_on]
