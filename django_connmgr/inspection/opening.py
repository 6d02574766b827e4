"""How a process opens its door: once its background thread starts."""

import logging

from django.core.exceptions import ImproperlyConfigured

from .._pool.events import add_listener
from .._pool.reaper import reaper
from ..app_settings import app_settings
from ..forks import in_child
from .answers import find_answer
from .directory import Unavailable, make_path, sweep
from .door import Door, listen
from .process import note_start
from .recent import recent

logger = logging.getLogger("django_connmgr.inspection")


def install() -> None:
    """Have the background thread answer, from its start on. Opens nothing yet."""
    reaper.make_door = open_door
    add_listener(recent)


def open_door() -> Door | None:
    """A door for this process; ``None``, and a line in the log, if it cannot have one."""
    try:
        if not app_settings().INSPECT:
            return None
        path = make_path()
        sweep()
        return Door(listen(path), path, find_answer, recent.sample)
    except ImproperlyConfigured:
        return None  # Which a check tells.
    except (Unavailable, OSError) as error:
        logger.warning(
            "This process cannot be inspected: %s. All else works; CONNMGR['INSPECT'] = False "
            "keeps it from trying.",
            error,
        )
        return None


in_child(note_start)
