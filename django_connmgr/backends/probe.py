"""A connection of the monitor's own, on which one question is asked again and again."""

import select
from typing import Any, Protocol

from .._pool.host import Report


class ProbeRefused(Exception):
    """The server is there, and does not answer this question."""


class ServerFull(Exception):
    """The server takes no more connections."""


class Probe(Protocol):
    """Asks one server how it is. No method ever waits for the server.

    Between ``begin()`` and the answer, ``advance()`` is to be called when ``fileno()`` is ready
    for ``events``. Both raise ``ProbeRefused``; or else ``ServerFull``, or any other exception if
    the server cannot be reached, and after that the probe is only good to be closed.
    """

    #: ``select.POLLIN`` or ``select.POLLOUT``: what is waited for.
    events: int

    def begin(self) -> None:
        """Ask, on a new connection if there is none."""

    def advance(self) -> Report | None:
        """Go on as far as it goes at once; the answer when it is there."""

    def fileno(self) -> int: ...

    def close(self) -> None:
        """Hang up; never raises."""


def await_any(probes: "list[Any]", timeout: float) -> "list[Any]":
    """Those that can go on, after up to ``timeout`` seconds."""
    if not hasattr(select, "poll"):  # Windows.
        reads = [probe for probe in probes if probe.events == POLLIN]
        writes = [probe for probe in probes if probe.events != POLLIN]
        ready = select.select(reads, writes, writes, timeout)
        return [probe for probe in probes if any(probe in one for one in ready)]
    poll = select.poll()
    for probe in probes:
        poll.register(probe.fileno(), probe.events)
    ready_fds = {fd for fd, _ in poll.poll(timeout * 1000)}
    return [probe for probe in probes if probe.fileno() in ready_fds]


POLLIN: int = getattr(select, "POLLIN", 1)
POLLOUT: int = getattr(select, "POLLOUT", 4)
