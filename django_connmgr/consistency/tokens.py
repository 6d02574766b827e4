"""What was written, as a text by which other code reads it: in a request, a task, a process."""

import threading
import time
from datetime import timedelta
from typing import Any

from django.core import signing
from django.db import connections

from .._pool.position import Position
from ..app_settings import app_settings
from .memory import Memory, find_memory, memory_here
from .modes import get_mode

_SALT = "django_connmgr.token"
#: On no server's timeline: no replica is ever there, so the primary reads.
_UNREACHABLE = Position(0, 0)


class _Count:
    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def increase(self) -> None:
        with self._lock:
            self.value += 1


#: How many tokens this process was shown that were forged, damaged, or too old.
ignored = _Count()


def current_token() -> str | None:
    """What this unit of work has committed, for ``require_token()`` elsewhere; ``None`` if nothing.

    What it was told to see itself is included. It is signed, and good for ``TOKEN_TTL`` seconds.
    After a commit the primary is asked once how far its log is, which is a round trip. Where it
    does not tell, or a transaction is open, the token is good for ``STICKY_SECONDS`` only.
    """
    memory = find_memory()
    if memory is None:
        return None
    since = time.time() - app_settings().STICKY_SECONDS
    entries: dict[str, float | str] = {
        primary: when for primary, when in memory.recalled.items() if when > since
    }
    for primary, (position, until) in memory.required.copy().items():
        if until > time.time():
            entries[primary] = str(position)
    for primary, when in memory.committed.copy().items():
        reached = _position_after_commit(memory, primary)
        if reached is not None:
            entries[primary] = str(reached)
        elif when > since:
            entries[primary] = when
    return signing.dumps(entries, salt=_SALT) if entries else None


def require_token(token: str | None) -> bool:
    """From here on, this unit of work reads what was written before ``token`` was made.

    Reads go to a replica that has replayed it. If none has it within ``WAIT`` seconds, the primary
    reads. False, and nothing, for ``None`` and for a token that is forged, damaged or too old.
    """
    if token is None:
        return False
    lifetime = timedelta(seconds=app_settings().TOKEN_TTL)
    try:
        loaded = signing.loads(token, salt=_SALT, max_age=lifetime)
        entries = {primary: _as_entry(value) for primary, value in loaded.items()}
    except (signing.BadSignature, AttributeError, TypeError, ValueError):
        ignored.increase()
        return False
    memory, now = memory_here(), time.time()
    for primary, entry in entries.items():
        if isinstance(entry, Position):
            _require(memory, primary, entry, now + lifetime.total_seconds())
        elif entry > now - app_settings().STICKY_SECONDS:
            memory.recalled[primary] = entry
    return True


def required_of(primary: str) -> Position | None:
    """How far a replica has to be that the calling code reads from; ``None``: no matter how far."""
    memory = find_memory()
    if memory is None or primary not in memory.required:
        return None
    mode = get_mode()
    if mode.role == "replica" or (mode.level or app_settings().CONSISTENCY) == "eventual":
        return None
    position, until = memory.required[primary]
    return position if until > time.time() else None


def _as_entry(value: Any) -> Position | float:
    return Position.parse(value) if isinstance(value, str) else float(value)


def _require(memory: Memory, primary: str, position: Position, until: float) -> None:
    before, _ = memory.required.get(primary, (position, until))
    if before.timeline != position.timeline:
        position = _UNREACHABLE  # A replica that has one of them may lack the other.
    memory.required[primary] = max(before, position, key=_order), until


def _order(position: Position) -> tuple[bool, Position]:
    return position == _UNREACHABLE, position


def _position_after_commit(memory: Memory, primary: str) -> Position | None:
    if primary not in memory.positions:
        wrapper: Any = connections[primary] if primary in connections.settings else None
        ask = getattr(wrapper, "log_position", None)
        memory.positions[primary] = None if ask is None else ask()
    return memory.positions[primary]
