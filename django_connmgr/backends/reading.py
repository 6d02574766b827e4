"""Statements to replicas: none that writes, and again elsewhere what one server could not do."""

import logging
from typing import Any

from django.db import OperationalError

from ..consistency.writes import Execute, refuse_write

logger = logging.getLogger("django_connmgr.replicas")

#: SQLSTATE serialization_failure: on a standby, a row was removed that the statement was reading.
RECOVERY_CONFLICT = "40001"


def read(execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """For a replica's ``execute_wrappers``.

    A read outside of transactions that fails because its connection was lost, or for a conflict
    with what the primary did, runs again on another server, and on the primary at last.
    """
    refuse_write(sql, context["connection"].alias)
    while True:
        try:
            return execute(sql, params, many, context)
        except OperationalError as error:
            if many or not _turn_elsewhere(context["connection"], context["cursor"], error):
                raise


def _turn_elsewhere(wrapper: Any, cursor: Any, error: OperationalError) -> bool:
    """Whether the statement may run again, with ``cursor`` on another server."""
    host = wrapper.reader.host
    was_lost = wrapper.borrower.has_lost_connection()
    is_conflict = getattr(error.__cause__, "sqlstate", None) == RECOVERY_CONFLICT
    if host is None or wrapper.in_atomic_block or not (was_lost or is_conflict):
        return False
    if getattr(cursor.cursor, "name", None) is not None:
        return False  # Declared on the server, where it was.
    cursor.cursor.close()
    if wrapper.borrower.lease is not None:
        return False  # A block or another cursor holds it.
    logger.warning(
        "A read of %r runs again, because the replica %s %s.",
        wrapper.alias,
        host.name,
        "was lost" if was_lost else "cancelled it",
    )
    wrapper.reader.leave(error if was_lost else None)
    wrapper.close()  # What is leased next is leased from there.
    cursor.cursor = wrapper._cursor().cursor
    return True
