"""Which statements write: on a primary they are noted, on a replica refused."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS

from ..exceptions import ReplicaWriteError
from .memory import note_commit, note_write
from .modes import get_mode

_COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
#: What changes rows: it wrote if it says that it met any.
_CHANGES = "INSERT|UPDATE|DELETE|MERGE|COPY"
_DEFINES = (
    "CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|COMMENT|REINDEX|CLUSTER|VACUUM|ANALYZE|REFRESH|IMPORT"
    "|SECURITY|REASSIGN|NOTIFY|CALL|DO|REPLACE|LOCK"
)
_FIRST = re.compile(
    rf"\A{_COMMENTS}(?:(?P<rows>{_CHANGES})|(?P<always>{_DEFINES}))\b", re.IGNORECASE | re.DOTALL
)
_WITH = re.compile(
    rf"\A{_COMMENTS}WITH\b.*\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE | re.DOTALL
)
#: Functions that do nothing for others on a replica, where the server would let them pass.
_FUTILE = re.compile(
    r"\bpg_(?:try_)?advisory_(?:xact_)?lock|\b(?:nextval|setval)\s*\(", re.IGNORECASE
)
_LOCKING = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE|KEY\s+SHARE)\b", re.IGNORECASE)
#: Reading is what is left of ``COPY``.
_COPY_OUT = re.compile(rf"\A{_COMMENTS}COPY\b.*\bTO\b", re.IGNORECASE | re.DOTALL)

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


def marks_write(using: str = DEFAULT_DB_ALIAS) -> None:
    """This unit of work has written to a primary, in a way that its statements do not show.

    By a function of the server's, say. From here on it reads from the primary.
    """
    note_write(using)
    note_commit(using)


def may_write(sql: Any) -> bool:
    """Whether a statement is one that writes, if it meets any rows. Composed ones are not read."""
    if not isinstance(sql, str):
        return False
    if _FIRST.match(sql):
        return not _COPY_OUT.match(sql)
    return _WITH.match(sql) is not None


def note_writes(
    execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """For a primary's ``execute_wrappers``: note writes; refuse them where there may be none."""
    if not may_write(sql):
        return execute(sql, params, many, context)
    forbidden_by = get_mode().forbidden_by
    if forbidden_by:
        raise ReplicaWriteError(f"A write inside {forbidden_by}: {_begin(sql)}")
    result = execute(sql, params, many, context)
    match = _FIRST.match(sql)
    if match is None or match["always"] or context["cursor"].rowcount != 0:
        _note(context["connection"])
    return result


def _note(connection: Any) -> None:
    note_write(connection.alias)
    if not connection.in_atomic_block:
        note_commit(connection.alias)
        return
    hooks = connection.run_on_commit
    if not hooks or not isinstance(hooks[-1][1], _NoteCommit):
        connection.on_commit(_NoteCommit(connection.alias), robust=True)


class _NoteCommit(NamedTuple):
    """Called when a transaction is committed; not if it, or its savepoint, is rolled back."""

    alias: str

    def __call__(self) -> None:
        note_commit(self.alias)


def refuse_write(sql: Any, alias: str) -> None:
    """Raise ``ReplicaWriteError`` for a statement to a replica that writes or locks."""
    if isinstance(sql, str) and (may_write(sql) or _FUTILE.search(sql) or _LOCKING.search(sql)):
        raise ReplicaWriteError(
            f"{alias!r} reads from replicas, which take no writes and no locks: {_begin(sql)} Use "
            f"the primary's alias, or using_primary()."
        )


def _begin(sql: str) -> str:
    """The first words: no values, which may be secrets."""
    return " ".join(sql.split()[:3]) + " ..."
