"""Words for an exhausted pool and for a long lease: numbers, owners, and what to do."""

import gc
import sys
import threading
from collections.abc import Iterable, Sequence
from traceback import StackSummary, walk_stack
from types import FrameType

from .owner import Owner
from .stats import LeaseRecord, PoolStats

#: As many leases are named; the oldest ones tell the story.
MOST_LEASES = 5


def describe_exhaustion(
    stats: PoolStats, leases: Sequence[LeaseRecord], waited: float, blocked: int = 0
) -> str:
    """The message of a ``PoolTimeout``; ``blocked`` holders wait for another thread."""
    idle = f"{stats.idle} idle ({stats.warm} warm)" if stats.warm else f"{stats.idle} idle"
    numbers = (
        f"No connection from pool {stats.name!r} within {waited:.1f} s: "
        f"size={stats.size} of max_size={stats.max_size} ({stats.connecting} connecting, "
        f"{idle}, {stats.leased} leased, {stats.maintenance} in maintenance), "
        f"{stats.waiting} others waiting, pool {stats.status}."
    )
    holders = [_describe_lease(lease) for lease in leases[:MOST_LEASES]]
    if holders:
        holders.insert(0, "Oldest holders:")
    if len(leases) > MOST_LEASES:
        holders.append(f"  and {len(leases) - MOST_LEASES} more")
    return "\n".join([numbers, *holders, _advice(stats, blocked)])


def _describe_lease(lease: LeaseRecord) -> str:
    words = [
        f"  thread {lease.owner!r} ({'alive' if lease.is_alive else 'dead'})",
        f"held for {lease.held_for:.1f} s",
    ]
    if lease.state in {"kept", "warm"}:
        words.append(f"idle for {lease.idle_for:.1f} s")
    if lease.holds:
        words.append(f"by {', '.join(lease.holds)}")
    if lease.unit:
        words.append(f"in {lease.unit}")
    return ", ".join(words)


def _advice(stats: PoolStats, blocked: int) -> str:
    if stats.status == "suspended":
        return "The pool is suspended; call resume() on it."
    if not stats.leased and not stats.idle:
        return "Connecting to the server takes too long; see whether it can be reached."
    if blocked:
        return (
            f"{blocked} of {stats.leased} holders wait for another thread, which may itself wait "
            "here for a connection: give the connection back before that (released(), or the end "
            "of the with_connection() block), or raise max_size by the number of such threads."
        )
    return (
        "Hold connections for less time (with_connection(), release_connection()), "
        "or raise max_size."
    )


def describe_leak(pool: str, owner: Owner | None, stack: StackSummary, held: float) -> str:
    """What to log about a lease that was taken at ``stack``, ``held`` seconds ago."""
    text = (
        f"Pool {pool!r}: thread {name_of(owner)!r} has held a connection for {held:.1f} s.\n"
        f"It was leased here:\n{format_stack(stack)}"
    )
    now = stack_of(owner)
    return f"{text}\nThe thread is here now:\n{now}" if now else text


def describe_idle_transaction(pool: str, owner: Owner | None, unit: str, seconds: float) -> str:
    """What to log about an open transaction that has run no query for so long."""
    within = f" in {unit}" if unit else ""
    text = (
        f"Pool {pool!r}: thread {name_of(owner)!r}{within} sits in an open transaction, and has "
        f"run no query for {seconds:.1f} s, as far as can be seen."
    )
    now = stack_of(owner)
    return f"{text}\nThe thread is here now:\n{now}" if now else text


#: Functions in which a thread waits for another one, by the ends of their files.
_WAITS = {
    ("threading.py", "join"),
    ("concurrent/futures/_base.py", "result"),
    ("concurrent/futures/_base.py", "exception"),
    ("concurrent/futures/_base.py", "wait"),
    ("concurrent/futures/thread.py", "shutdown"),
    ("multiprocessing/pool.py", "wait"),
    ("queue.py", "get"),
    ("queue.py", "join"),
    ("asgiref/sync.py", "__call__"),
    ("asgiref/current_thread_executor.py", "run_until_future"),
}
#: As many of the innermost calls are looked at.
_DEPTH = 12


def count_blocked(owners: Iterable[Owner | None]) -> int:
    """How many of these threads wait until another one is done, as far as their stacks show."""
    frames = current_frames()
    return sum(_waits(frames.get(owner.ident)) for owner in owners if owner is not None)


def _waits(frame: FrameType | None) -> bool:
    for _ in range(_DEPTH):
        if frame is None:
            return False
        path, name = frame.f_code.co_filename.replace("\\", "/"), frame.f_code.co_name
        if any(name == function and path.endswith(end) for end, function in _WAITS):
            return True
        frame = frame.f_back
    return False


#: One thread at a time: what another one enables again must not be what this one disabled. A
#: finaliser may come back on the same thread.
_frames_lock = threading.RLock()


def current_frames() -> dict[int, FrameType]:
    """As ``sys._current_frames()``, without collecting garbage in the middle of it.

    CPython makes frames while it holds a lock of the interpreter's, up to 3.12 also if that starts
    a collection. A finaliser that lets another thread run, which calls the same function, would
    then be waited for with the GIL held: for ever (https://github.com/python/cpython/issues/106883).
    """
    with _frames_lock:
        is_enabled = gc.isenabled()
        try:
            gc.disable()
            return sys._current_frames()
        finally:
            if is_enabled:
                gc.enable()


def after_fork() -> None:
    """In a forked child: another thread may have held the lock."""
    global _frames_lock  # noqa: PLW0603
    _frames_lock = threading.RLock()


def name_of(owner: Owner | None) -> str:
    return "shared by several" if owner is None else owner.name


def stack_here() -> StackSummary:
    """The caller's caller's stack, cheap to take: source lines are read when it is printed."""
    return _extract(sys._getframe(2))


def stack_of(owner: Owner | None) -> str:
    """Where a thread is now; empty if that cannot be found out."""
    frame = None if owner is None else current_frames().get(owner.ident)
    return "" if frame is None else format_stack(_extract(frame))


def _extract(frame: FrameType | None) -> StackSummary:
    return StackSummary.extract(walk_stack(frame), lookup_lines=False)


def format_stack(stack: StackSummary) -> str:
    """Oldest call last, as it reads from where the thread is."""
    return "".join(reversed(stack.format())).rstrip()
