"""What a unit of work has written, and which alias it reads from."""

import time
from collections.abc import Iterator
from contextvars import ContextVar

from ..units.current import find_unit
from ..units.unit import Unit

#: Outside of all units, as in a script, a write is remembered for so many seconds.
WINDOW = 2.0


class Memory:
    """Shared by all threads and tasks of a unit: each change is one operation on a dict."""

    __slots__ = ("aliases", "committed", "recalled", "written")

    def __init__(self) -> None:
        #: Primaries that were written to, and when.
        self.written: dict[str, float] = {}
        #: Those of them where it was committed.
        self.committed: set[str] = set()
        #: Primaries that the client wrote to, in a request before this one.
        self.recalled: set[str] = set()
        #: By primary, the one of several aliases of replicas that was chosen.
        self.aliases: dict[str, str] = {}


#: Outside of all units: of the context.
_memory: ContextVar[Memory | None] = ContextVar("django_connmgr_memory", default=None)


def memory_here() -> Memory:
    """The memory of the calling code's unit of work, made at the first call."""
    unit = find_unit()
    if unit is not None:
        return _memory_of(unit)
    memory = _memory.get()
    if memory is None:
        memory = Memory()
        _memory.set(memory)
    return memory


def _memory_of(unit: Unit) -> Memory:
    if unit.memory is None:
        unit.memory = Memory()
    memory: Memory = unit.memory
    return memory


def _units() -> Iterator[Unit]:
    """This unit, and those around it that belong to the same request.

    What serves requests may be in a unit of its own, as ``runserver`` is: not that.
    """
    unit = find_unit()
    while unit is not None:
        yield unit
        unit = None if unit.is_request else unit.parent


def note_write(primary: str) -> None:
    """This unit of work, and so those around it, have written to a primary."""
    memory_here().written[primary] = time.monotonic()
    for unit in _units():
        _memory_of(unit).written[primary] = time.monotonic()


def note_commit(primary: str) -> None:
    """What this unit of work, and so those around it, have written is for others to see."""
    memory_here().committed.add(primary)
    for unit in _units():
        _memory_of(unit).committed.add(primary)


def has_written(primary: str) -> bool:
    """Whether this unit of work, or one around it, has written to a primary."""
    if find_unit() is None:
        memory = _memory.get()
        written_at = None if memory is None else memory.written.get(primary)
        return written_at is not None and time.monotonic() - written_at < WINDOW
    memories = [unit.memory for unit in _units() if unit.memory is not None]
    return any(primary in memory.written or primary in memory.recalled for memory in memories)
