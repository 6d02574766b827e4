"""What a unit of work has written, and which alias it reads from."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

from ..units.current import find_unit
from ..units.unit import Unit


class Memory:
    """Shared by all threads and tasks of a unit: each change is one operation on a set or dict."""

    __slots__ = ("aliases", "written")

    def __init__(self) -> None:
        #: Primaries that were written to.
        self.written: set[str] = set()
        #: By primary, the one of several aliases of replicas that was chosen.
        self.aliases: dict[str, str] = {}


#: Outside of all units, as in a shell: of the context.
_memory: ContextVar[Memory | None] = ContextVar("django_connmgr_memory", default=None)


def memory_here() -> Memory:
    """The memory of the calling code's unit of work, made at the first call."""
    unit = find_unit()
    memory = _memory.get() if unit is None else unit.memory
    if memory is None:
        memory = Memory()
        if unit is None:
            _memory.set(memory)
        else:
            unit.memory = memory
    return memory


def _memories() -> Iterator[Memory | None]:
    """Of this unit, and of those around it that belong to the same request."""
    unit = find_unit()
    if unit is None:
        yield _memory.get()
    while unit is not None:
        yield unit.memory
        # What serves requests may be in a unit of its own, as ``runserver`` is.
        unit = None if unit.is_request else unit.parent


def has_written(primary: str) -> bool:
    """Whether this unit of work has written to a primary."""
    return any(memory is not None and primary in memory.written for memory in _memories())


def note_write(primary: str) -> None:
    """This unit of work, and so those around it, have written to a primary."""
    memory_here().written.add(primary)
    unit: Unit | None = find_unit()
    while unit is not None and not unit.is_request and unit.parent is not None:
        unit = unit.parent
        if unit.memory is None:
            unit.memory = Memory()
        unit.memory.written.add(primary)
