"""Statements to replicas: none that writes, and again elsewhere what one server could not do."""

import contextlib
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
    with what the primary did, runs once more on another server: not on each of them, because
    the statement itself may be what takes the connection down. And one that must see more than
    the server has that is leased from already runs elsewhere at once.
    """
    wrapper, cursor = context["connection"], context["cursor"]
    refuse_write(sql, wrapper.alias)
    is_well = False
    try:
        if wrapper.reader.must_move() and _may_move(wrapper, cursor):
            _move(wrapper, cursor)
        try:
            result = execute(sql, params, many, context)
        except OperationalError as error:
            if many or not _turn_elsewhere(wrapper, cursor, error):
                raise
            result = execute(sql, params, many, context)
        is_well = True
        return result
    finally:
        wrapper.reader.settle(is_well=is_well)


def _turn_elsewhere(wrapper: Any, cursor: Any, error: OperationalError) -> bool:
    """Whether a statement that failed may run again, with ``cursor`` on another server."""
    host, borrower = wrapper.reader.host, wrapper.borrower
    if host is None or wrapper.in_atomic_block or _is_named(cursor):
        return False
    was_lost = borrower.has_lost_connection()
    if was_lost:
        borrower.suspend()  # Whatever holds it: nothing can be done with it any more.
    elif _sqlstate_of(error) != RECOVERY_CONFLICT or not borrower.has_only_a_cursor():
        return False
    logger.warning(
        "A read of %r runs again, because the replica %s %s.",
        *(wrapper.alias, host.name, "was lost" if was_lost else "cancelled it"),
    )
    wrapper.reader.settle(is_well=False)  # Of the lease before: another attempt begins.
    wrapper.reader.leave(error if was_lost else None)
    _move(wrapper, cursor)
    return True


def _may_move(wrapper: Any, cursor: Any) -> bool:
    is_free = wrapper.borrower.has_only_a_cursor(or_block=True) and not wrapper.in_atomic_block
    return is_free and not _is_named(cursor)


def _is_named(cursor: Any) -> bool:
    """Whether it was declared on the server, and stays where it was."""
    return getattr(cursor.cursor, "name", None) is not None


def _move(wrapper: Any, cursor: Any) -> None:
    """Choose a server anew, and have ``cursor`` there."""
    with contextlib.suppress(wrapper.Database.Error):
        cursor.cursor.close()
    wrapper.close()  # What is leased next is leased from there.
    cursor.cursor = wrapper._cursor().cursor


def _sqlstate_of(error: BaseException) -> str | None:
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
