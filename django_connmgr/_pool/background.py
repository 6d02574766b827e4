"""Threads of the package's own."""

import logging
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

logger = logging.getLogger("django_connmgr.reaper")

#: Whether none may be started now: see ``expect_silent_forks()``.
is_held = False


def start_thread(target: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a daemon thread; ``None`` while they are held, or with a warning if it cannot start."""
    if is_held:
        return None
    # An empty context, or the first request that uses a pool would lend its own for ever (3.14).
    keywords: dict[str, Any] = {"context": Context()} if sys.version_info >= (3, 14) else {}
    thread = threading.Thread(target=target, name=name, daemon=True, **keywords)
    try:
        thread.start()
    except RuntimeError:
        # The interpreter is shutting down, or the machine is out of threads. The pools work on
        # without upkeep: checkouts still take slots back from dead owners.
        logger.warning("Thread %r could not be started.", name, exc_info=True)
        return None
    return thread
