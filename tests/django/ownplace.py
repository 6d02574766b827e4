"""The example project, with its sockets in a directory of this process and its children."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from testproject.settings import *  # noqa: F403

_place = tempfile.mkdtemp(prefix="cm-")
_owner = os.getpid()


def _remove() -> None:
    if os.getpid() == _owner:
        shutil.rmtree(_place, ignore_errors=True)


atexit.register(_remove)
CONNMGR = {"RUNTIME_DIR": _place}
