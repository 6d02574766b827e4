"""What engines do with the socket under a connection, behind the driver's back."""

import contextlib
import functools
import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

#: Keeps what a forked child must never touch, finalise or close.
_inherited: list[object] = []


def is_readable(fd: int, timeout: float = 0.0) -> bool:
    """Whether something arrives on ``fd``, be it bytes or the end, within ``timeout`` seconds."""
    timeout = max(timeout, 0.0)  # What is left until a deadline; negative would mean for ever.
    if not hasattr(select, "poll"):  # Windows, where any descriptor fits ``select()``.
        return bool(select.select([fd], [], [], timeout)[0])
    poll = select.poll()
    poll.register(fd, select.POLLIN)  # Hang-ups and errors are always reported.
    return bool(poll.poll(timeout * 1000))


def watch(fd: int) -> Callable[[], object]:
    """What tells whether something has arrived on ``fd`` by now: false if not."""
    if not hasattr(select, "poll"):
        return functools.partial(is_readable, fd)
    return _watch_maker()(fd, select.POLLIN)


@functools.cache
def _watch_maker() -> Callable[[int, int], Callable[[], int]]:
    """Calls of the system's ``poll()``, each for one descriptor and for certain events.

    Python's own lets go of the GIL, also where it is told to wait for nothing. Among busy threads
    the caller then waits to get it back, for a call of half a microsecond; so this one keeps it.
    """
    import ctypes  # psycopg imports it too; other drivers need neither.

    poll, one = ctypes.PyDLL(None).poll, ctypes.c_ulong(1)

    class PollFd(ctypes.Structure):
        _fields_: ClassVar = [
            ("fd", ctypes.c_int),
            ("events", ctypes.c_short),
            ("revents", ctypes.c_short),
        ]

    return lambda fd, events: functools.partial(poll, ctypes.byref(PollFd(fd, events)), one, 0)


def await_hangups(fds: Iterable[int], timeout: float) -> None:
    """Wait until the other ends have hung up, all within ``timeout`` seconds; close ``fds``.

    They are duplicates of sockets that the driver closed after saying goodbye.
    """
    deadline = time.monotonic() + timeout
    for fd in fds:
        try:
            while is_readable(fd, deadline - time.monotonic()) and os.read(fd, 4096):
                pass
        except OSError:
            pass  # Reset: the other end is gone too.
        finally:
            os.close(fd)


def hang_up(fd: int, timeout: float) -> None:
    """Tell the other end of a connection that this one is gone; closes ``fd``, a duplicate.

    Waits up to ``timeout`` seconds until the other end has hung up as well. A thread that reads
    or writes meanwhile finds the connection ended.
    """
    with socket.socket(fileno=fd) as line:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        await_hangups([os.dup(fd)], timeout)
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def disown(connection: object, fd: int = -1) -> None:
    """In a forked child: put ``/dev/null`` in the place of an inherited socket, if there is one.

    The descriptor is shared with the parent, and so is the session with the server: a goodbye from
    here would end the parent's. The connection object is kept alive, so that no finaliser runs on a
    structure that a thread of the parent may have been changing when the process forked.
    """
    _inherited.append(connection)
    if fd >= 0:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(null, fd, inheritable=False)
        finally:
            os.close(null)
