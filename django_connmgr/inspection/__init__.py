"""Each process that uses a pool answers who holds what, on a Unix socket of its own."""

from .._pool.events import add_listener
from .._pool.reaper import reaper
from .opening import open_door
from .recent import recent


def install() -> None:
    """Have the background thread answer, from its start on. Opens nothing yet."""
    reaper.make_door = open_door
    add_listener(recent)
