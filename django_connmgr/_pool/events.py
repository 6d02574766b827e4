"""What happens to a pool now and then, told to whatever listens."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from .logs import logger


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened, with no secret in it."""

    #: ``"opened"``, ``"closed"``, ``"connect_failed"``, ``"timeout"``, ``"rejected"``,
    #: ``"reaped"``, ``"deadline"``, ``"cancelled"``, or what was done by hand: ``"killed"``,
    #: ``"recycled"``, ``"suspended"``, ``"resumed"``, ``"resized"``.
    kind: str
    #: The pool's name: its alias, and after an ``@`` the host's, if it has several.
    pool: str
    #: Why, in a word or a sentence: the reason of a close, the error of a connect.
    reason: str = ""
    #: How long it took, in seconds.
    seconds: float = 0.0
    #: The thread that it happened to, and the unit of work.
    owner: str = ""
    unit: str = ""
    #: Seconds since the epoch.
    at: float = field(default_factory=time.time)


class Listener(Protocol):
    """What wants to know. Called on any thread, never under a pool's lock; it must not block."""

    def on_event(self, event: Event) -> None: ...


#: Replaced, never changed, so that any thread may read it.
_listeners: tuple[Listener, ...] = ()


def add_listener(listener: Listener) -> None:
    """Tell ``listener`` of every event of this process from now on. Idempotent."""
    global _listeners  # noqa: PLW0603
    if listener not in _listeners:
        _listeners = (*_listeners, listener)


def remove_listener(listener: Listener) -> None:
    global _listeners  # noqa: PLW0603
    _listeners = tuple(one for one in _listeners if one is not listener)


def emit(event: Event) -> None:
    """Tell all listeners. One that raises is logged, and does not keep the others."""
    for listener in _listeners:
        try:
            listener.on_event(event)
        except Exception:
            logger.exception("A listener failed at %r.", event)
