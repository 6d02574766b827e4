"""On which processors a turn and its server run.

With two processors and one thread that asks, the time of a query depends on where the system
happens to put the client and the server, by a factor of two. On one processor it does not.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator


class Placement(enum.StrEnum):
    #: The turn and the server share one processor.
    PINNED = "pinned"
    #: The operating system chooses among all processors.
    FREE = "free"


def why_impossible(placement: Placement) -> str | None:
    """Why this system does not have the placement; ``None`` if it has."""
    if placement is Placement.FREE or hasattr(os, "sched_setaffinity"):
        return None
    return "this system cannot pin processes to a processor"


@contextlib.contextmanager
def placed(placement: Placement) -> Iterator[None]:
    """In the block, this thread and the processes that it starts are in the placement."""
    if placement is Placement.FREE:
        yield
        return
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(processors)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)
