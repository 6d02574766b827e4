"""What was written, as a text by which other code reads it: in a request, a task, a process."""

import threading
import time
from datetime import timedelta
from typing import Any

from django.core import signing
from django.db import connections

from .._pool.position import NOWHERE, Position
from ..app_settings import app_settings
from ..forks import in_child
from .memory import Memory, find_memory, memory_here
from .modes import get_mode

_SALT = "django_connmgr.token"


class _Count:
    def __init__(self) -> None:
        self.value = 0
        self.after_fork()
        in_child(self.after_fork)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def increase(self) -> None:
        with self._lock:
            self.value += 1


#: How many tokens this process was shown that were forged, damaged, or too old.
ignored = _Count()


def current_token(*, is_fresh: bool = False) -> str | None:
    """What this unit of work has committed, for ``require_token()`` elsewhere; ``None`` if nothing.

    What it was told to see itself is included. It is signed, and good for ``TOKEN_TTL`` seconds.
    After a commit the primary is asked once how far its log is, which is a round trip; again if
    it ``is_fresh``. Where it does not tell, the token is good for ``STICKY_SECONDS`` only. If it
    cannot be asked, as in a transaction, the token leads to the primary.
    """
    memory = find_memory()
    if memory is None:
        return None
    now = time.time()
    since = now - app_settings().STICKY_SECONDS
    entries: dict[str, float | str] = {
        primary: when for primary, when in memory.recalled.copy().items() if when > since
    }
    for primary, (position, until) in memory.required.copy().items():
        if until > now:
            entries[primary] = str(position)
    for primary, when in memory.committed.copy().items():
        if when < now - app_settings().TOKEN_TTL:
            continue  # Outside of units, where it is never forgotten.
        reached = _position_after_commit(memory, primary, when, is_fresh=is_fresh)
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
    entries = _read(token)
    if entries is None:
        ignored.increase()
        return False
    memory, now = memory_here(), time.time()
    for primary, entry in entries.items():
        if isinstance(entry, Position):
            _require(memory, primary, entry, now + app_settings().TOKEN_TTL)
        elif entry > now - app_settings().STICKY_SECONDS:
            memory.recalled[primary] = entry
    for wrapper in connections.all(initialized_only=True):
        # What lies warm for this thread may be of a replica that is not that far.
        getattr(wrapper, "choose_anew", _ignore)()
    return True


def merge_tokens(first: str | None, second: str) -> str:
    """One that covers both, as far as the first is good. On two timelines the later one counts."""
    before, after = _read(first) if first else None, _read(second)
    if not before or not after:
        return second
    entries: dict[str, float | str] = {}
    for primary in {**before, **after}:
        found = [one[primary] for one in (before, after) if primary in one]
        positions = [entry for entry in found if isinstance(entry, Position)]
        entries[primary] = str(max(positions)) if positions else max(found)  # type: ignore[assignment]
    return signing.dumps(entries, salt=_SALT)


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


def _read(token: str) -> dict[str, Position | float] | None:
    """Its entries; ``None`` if it is forged, damaged, or too old."""
    try:
        lifetime = timedelta(seconds=app_settings().TOKEN_TTL)
        loaded = signing.loads(token, salt=_SALT, max_age=lifetime)
        return {primary: _as_entry(value) for primary, value in loaded.items()}
    except (signing.BadSignature, AttributeError, TypeError, ValueError):
        return None


def _as_entry(value: Any) -> Position | float:
    return Position.parse(value) if isinstance(value, str) else float(value)


def _require(memory: Memory, primary: str, position: Position, until: float) -> None:
    before, holds_until = memory.required.get(primary, (position, until))
    if holds_until <= time.time():
        before = position  # Outside of units, where it is never forgotten.
    # A replica that has one of two on different timelines may lack the other.
    furthest = max(before, position) if before.timeline == position.timeline else NOWHERE
    memory.required[primary] = furthest, until


def _position_after_commit(
    memory: Memory, primary: str, when: float, *, is_fresh: bool
) -> Position | None:
    """How far a primary is; ``None`` if it does not tell, which is not remembered.

    What another thread commits meanwhile has another time: then it is asked again.
    """
    known = memory.positions.get(primary)
    if known is not None and known[0] is when and not is_fresh:
        return known[1]
    wrapper: Any = connections[primary] if primary in connections.settings else None
    ask = getattr(wrapper, "log_position", _ignore)
    reached: Position | None = ask()
    if reached is not None and reached != NOWHERE:
        memory.positions[primary] = when, reached
    return reached


def _ignore() -> None: ...
