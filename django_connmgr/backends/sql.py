"""Which statements leave something behind in the session of the server."""

import re
from typing import Any

# A statement that starts like this changes the session, unless it says LOCAL.
_STARTS = re.compile(
    r"(?:\A|;)(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|LISTEN\b|UNLISTEN\b|PREPARE\b"
    r"|DEALLOCATE\b|DISCARD\b|LOAD\b|PRAGMA\b|ATTACH\b|DETACH\b|BEGIN\b|START\s+TRANSACTION\b"
    r"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:GLOBAL\s+|LOCAL\s+)?TEMP(?:ORARY)?\b"
    r"|DECLARE\b.*\bWITH\s+HOLD\b)",
    re.IGNORECASE | re.DOTALL,
)
# So does one that has this anywhere: functions, SELECT INTO TEMP, temporary things by name.
_ANYWHERE = re.compile(
    r"\bpg_(?:try_)?advisory_(?:lock|unlock)"
    r"|\bset_config\s*\((?![^()]*,\s*(?:true|'t(?:rue)?')\s*\))"
    r"|\bINTO\s+(?:LOCAL\s+)?TEMP(?:ORARY)?\b|\bCREATE\b.*\bpg_temp\s*\.",
    re.IGNORECASE | re.DOTALL,
)
#: Statements that were found to leave nothing behind. Parameters are not in the text, so a
#: program has few; longer ones (bulk inserts) are not worth remembering.
harmless: set[Any] = set()
_REMEMBERED = 2048
_LONGEST = 4096


def touches_session(sql: Any) -> bool:
    """Whether ``sql`` changes what the next statements of the session see or hold.

    True, to be safe, for what is composed and cannot be read here without a connection.
    """
    try:
        if isinstance(sql, str):
            text = sql[:_LONGEST]
        elif isinstance(sql, bytes):
            text = sql[:_LONGEST].decode("latin-1")
        else:
            text = sql.as_string(None)
        found = _STARTS.search(text) is not None or _ANYWHERE.search(text) is not None
    except Exception:
        return True
    if not found and isinstance(sql, str) and len(sql) <= _LONGEST:
        if len(harmless) >= _REMEMBERED:
            harmless.clear()
        harmless.add(sql)
    return found
