"""What a request, or another unit of work, has written, and which alias it reads from."""

import threading
import time

from .._pool.position import Position
from ..forks import in_child
from ..units.current import find_unit
from ..units.unit import Unit

#: Outside of all units, as in a script, and around those of a command, a write is remembered for so
#: many seconds.
WINDOW = 2.0


class Memory:
    """Shared by all threads and tasks: each change is one operation on a set or dict."""

    __slots__ = ("aliases", "committed", "positions", "recalled", "required", "written")

    def __init__(self) -> None:
        #: Primaries that were written to, and when, by ``time.monotonic()``.
        self.written: dict[str, float] = {}
        #: Those where it was committed, and when, by ``time.time()``.
        self.committed: dict[str, float] = {}
        #: How far they were after that, once they were asked: see ``tokens``.
        self.positions: dict[str, tuple[float, Position]] = {}
        #: Those that the client wrote to in a request before this one, and when.
        self.recalled: dict[str, float] = {}
        #: Or how far a replica has to be to show that, and until when, by ``time.time()``.
        self.required: dict[str, tuple[Position, float]] = {}
        #: By primary, the one of several aliases of replicas that was chosen.
        self.aliases: dict[str, str] = {}


#: Of all code outside of units.
_outside = Memory()


# So that a unit's threads make one memory. A finaliser that queries may take it again.
_lock = threading.RLock()


def _after_fork() -> None:
    """In a forked child: another thread may have had it."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


in_child(_after_fork)


def find_outermost() -> Unit | None:
    """The outermost unit around the calling code that belongs to the same request or task.

    What serves requests may be in a unit of its own, as ``runserver`` is, and so may a worker that
    runs tasks: not that.
    """
    unit = find_unit()
    while unit is not None and not unit.is_request:
        around = unit.parent
        if around is None or (around.is_command and around.parent is None):
            break
        unit = around
    return unit


def memory_here() -> Memory:
    """What belongs to the calling code: nested units share one."""
    unit = find_outermost()
    if unit is None:
        return _outside
    memory: Memory | None = unit.memory
    if memory is None:  # A request that neither writes nor chooses does not pay for one.
        with _lock:
            memory = unit.memory = unit.memory or Memory()
    return memory


def find_memory() -> Memory | None:
    """What belongs to the calling code; ``None`` if there is nothing."""
    unit = find_outermost()
    return _outside if unit is None else unit.memory


def note_write(primary: str) -> None:
    """A primary was written to."""
    memory_here().written[primary] = time.monotonic()


def note_commit(primary: str) -> None:
    """What was written to a primary, if anything was, is for others to see."""
    memory = memory_here()
    if primary in memory.written:
        memory.committed[primary] = time.time()


def has_written(primary: str) -> bool:
    """Whether a read that misses writes to a primary would miss this code's own.

    What a command writes itself, and not in units of its own, is remembered for a while in those.
    """
    unit = find_outermost()
    if unit is None:
        return _has_just_written(_outside, primary)
    memory = unit.memory
    if memory is not None and (primary in memory.written or primary in memory.recalled):
        return True
    around = unit.parent
    return around is not None and around.is_command and _has_just_written(around.memory, primary)


def _has_just_written(memory: Memory | None, primary: str) -> bool:
    written_at = None if memory is None else memory.written.get(primary)
    return written_at is not None and time.monotonic() - written_at < WINDOW
