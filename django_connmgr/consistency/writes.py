"""Which statements write: on a primary they are noted, on a replica refused."""

import enum
import re
from collections.abc import Callable
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ..exceptions import ReplicaWriteError
from .memory import note_commit, note_write
from .modes import get_mode

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


class Kind(enum.IntEnum):
    """What a statement does, as far as its text tells."""

    READS = 0
    #: It is composed in a way that cannot be read, or runs what was prepared before.
    UNKNOWN = 1
    #: It writes if it meets any rows.
    CHANGES = 2
    WRITES = 3


#: Comments, literals and quoted names, which may contain any words.
_QUOTED = re.compile(
    r"--[^\n]*"
    r"|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/"
    r"|\b[eE]'(?:[^'\\]|\\.|'')*'"
    r"|'[^']*'"
    r'|"[^"]*"'
    r"|(\$\w*\$).*?\1",
    re.DOTALL,
)
_NESTED = re.compile(r"\([^()]*\)")
_WORD = re.compile(r"\w+")
_ROWS = {"INSERT", "UPDATE", "DELETE", "MERGE"}
_FIRST = {
    **dict.fromkeys(("UPDATE", "DELETE"), Kind.CHANGES),
    "EXECUTE": Kind.UNKNOWN,
    **dict.fromkeys(
        (
            *("INSERT", "MERGE", "REPLACE", "TRUNCATE", "CREATE", "ALTER", "DROP", "COMMENT"),
            *("GRANT", "REVOKE", "REASSIGN", "SECURITY", "IMPORT", "REINDEX", "CLUSTER", "VACUUM"),
            *("ANALYZE", "REFRESH", "NOTIFY", "CALL", "DO", "LOCK"),
        ),
        Kind.WRITES,
    ),
}
#: What protects nothing on a replica, where the server would let some of it pass.
_LOCKS = re.compile(
    r"\bpg_(?:try_)?advisory_(?:xact_)?lock(?:_shared)?\s*\("
    r"|\b(?:nextval|setval)\s*\("
    r"|\bFOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE|KEY\s+SHARE)\b",
    re.IGNORECASE,
)
#: A program has few different statements; longer ones are not worth remembering.
_REMEMBERED, _LONGEST = 2048, 4096
_kinds: dict[str, Kind] = {}


def marks_write(using: str = DEFAULT_DB_ALIAS) -> None:
    """This unit of work has written to a primary, in a way that its statements do not show.

    By a function of the server's, say. From here on it reads from the primary.
    """
    note_write(using)
    note_commit(using)


def kind_of(sql: Any) -> Kind:
    """What a statement does; a text may have several."""
    text = _as_text(sql)
    if text is None:
        return Kind.UNKNOWN
    kind = _kinds.get(text)
    if kind is None:
        kinds = [_kind_of_one(one) for one in _QUOTED.sub(" ", text).split(";") if one.strip()]
        kind = max(kinds, default=Kind.READS)
        if kind is Kind.CHANGES and len(kinds) > 1:
            kind = Kind.WRITES  # The count of rows is that of one of them.
        if len(text) <= _LONGEST:
            if len(_kinds) >= _REMEMBERED:
                _kinds.clear()
            _kinds[text] = kind
    return kind


def _kind_of_one(text: str) -> Kind:
    words = [word.upper() for word in _WORD.findall(text)]
    if not words:
        return Kind.READS
    first = words[0]
    if first == "COPY":
        while _NESTED.search(text):  # A query or a list of columns.
            text = _NESTED.sub(" ", text)
        return Kind.WRITES if "FROM" in text.upper().split() else Kind.READS
    if first == "WITH" or (first == "EXPLAIN" and "ANALYZE" in words):
        return Kind.READS if _ROWS.isdisjoint(words) else Kind.WRITES
    if first == "SELECT" and "INTO" in words:
        return Kind.WRITES
    return _FIRST.get(first, Kind.READS)


def _as_text(sql: Any) -> str | None:
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes):
        return sql.decode("latin-1")
    try:
        return str(sql.as_string(None))
    except Exception:
        return None  # Of psycopg 2, it needs a connection to be read.


def note_writes(
    execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """For a primary's ``execute_wrappers``: note writes; refuse them where there may be none."""
    kind = kind_of(sql)
    if kind is Kind.READS:
        return execute(sql, params, many, context)
    connection = context["connection"]
    refuse_if_forbidden(sql, kind)
    try:
        result = execute(sql, params, many, context)
    except BaseException as error:
        if kind is not Kind.CHANGES:
            note_on(connection)  # It may have been committed before it failed.
        connection.note_refusal(error)
        raise
    if kind is not Kind.CHANGES or context["cursor"].rowcount != 0:
        note_on(connection)
    return result


def note_on(connection: Any) -> None:
    """This unit of work has written on a primary, and perhaps not committed that yet."""
    note_write(connection.alias)
    if not connection.in_atomic_block and connection.autocommit:
        note_commit(connection.alias)


def refuse_if_forbidden(sql: Any, kind: Kind) -> None:
    """Raise ``ReplicaWriteError`` for a write inside ``read_only()`` or ``using_replica()``."""
    forbidden_by = get_mode().forbidden_by
    if forbidden_by and kind > Kind.UNKNOWN:
        raise ReplicaWriteError(f"A write inside {forbidden_by}: {_begin(sql)}")


def refuse_write(sql: Any, alias: str) -> None:
    """Raise ``ReplicaWriteError`` for a statement to a replica that writes or locks."""
    if kind_of(sql) > Kind.UNKNOWN or _locks(sql):
        raise ReplicaWriteError(
            f"{alias!r} reads from replicas, which take no writes and no locks: {_begin(sql)} Use "
            f"the primary's alias, or using_primary()."
        )


def _locks(sql: Any) -> bool:
    text = _as_text(sql) or ""
    return _LOCKS.search(text) is not None and _LOCKS.search(_QUOTED.sub(" ", text)) is not None


def _begin(sql: Any) -> str:
    """The first words: no values, which may be secrets."""
    return " ".join(_QUOTED.sub(" ", _as_text(sql) or "").split()[:3]) + " ..."
