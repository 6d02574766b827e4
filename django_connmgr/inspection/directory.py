"""Where the sockets are: a directory of this user's, that no other user can enter."""

import os
import re
import secrets
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..app_settings import app_settings
from ..project import project_name
from .wire import MOST_PATH

#: The most characters of a project's name in the name of a file.
MOST_OF_PROJECT = 32
#: A socket that refuses connections is left over, if its process is gone or it is older than
#: this, in seconds: another process may have got the number meanwhile.
LEFT_OVER = 60.0
_NAME = re.compile(r"(?P<project>[\w-]+)\.(?P<pid>\d+)\.[0-9a-f]+\.sock")


class Unavailable(Exception):
    """There can be no socket; says why, and what to do."""


class Found(NamedTuple):
    """The socket of one process, dead or alive."""

    path: Path
    pid: int
    project: str


def file_name(project: str) -> str:
    """As it stands in the names of files."""
    return re.sub(r"[^\w-]", "_", project, flags=re.ASCII)[:MOST_OF_PROJECT]


def make_path() -> Path:
    """For a new socket of this process; raises ``Unavailable``."""
    if not hasattr(socket, "AF_UNIX"):
        raise Unavailable("this platform has no Unix sockets")
    directory = _bases()[0] / f"django-connmgr-{os.getuid()}"
    _make_private(directory)
    name = f"{file_name(project_name())}.{os.getpid()}.{secrets.token_hex(3)}.sock"
    path = directory / name
    if len(os.fsencode(path)) >= MOST_PATH:
        raise Unavailable(
            f"{path} is too long for a socket, whose path has at most {MOST_PATH - 1} bytes: set "
            "CONNMGR['RUNTIME_DIR'] to a shorter one"
        )
    return path


def _bases() -> list[Path]:
    """Where directories of users may be: the one for new ones first.

    A server that a service manager starts may lack ``XDG_RUNTIME_DIR``, which a shell has: so
    clients look at both places.
    """
    given = app_settings().RUNTIME_DIR
    if given is not None:
        return [Path(given)]
    session = os.environ.get("XDG_RUNTIME_DIR")
    temporary = Path(tempfile.gettempdir())
    return [Path(session), temporary] if session else [temporary]


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = directory.lstat()
    except OSError as error:
        raise Unavailable(
            f"{directory} cannot be made ({error.strerror}): set CONNMGR['RUNTIME_DIR'] to a "
            "directory that this user may write to"
        ) from None
    is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    if not is_ours or about.st_mode & 0o077:
        raise Unavailable(
            f"{directory} can be entered by other users: remove it, or set CONNMGR['RUNTIME_DIR'] "
            "to another place"
        )


def find_sockets() -> list[Found]:
    """Those of this user's processes; of all users', if this is root."""
    found: list[Found] = []
    if not hasattr(socket, "AF_UNIX"):
        return found
    for base in _bases():
        for directory in sorted(base.glob("django-connmgr-*")):
            with suppress(OSError):  # It is gone, or not for this user.
                if _may_trust(directory):
                    found += _sockets_in(directory)
    return sorted(found, key=lambda one: one.pid)


def _may_trust(directory: Path) -> bool:
    about = directory.lstat()
    is_private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
    return is_private and (about.st_uid == os.getuid() or os.getuid() == 0)


def _sockets_in(directory: Path) -> list[Found]:
    matches = [(path, _NAME.fullmatch(path.name)) for path in directory.iterdir()]
    return [Found(path, int(one["pid"]), one["project"]) for path, one in matches if one]


def remove_if_left_over(found: Found) -> bool:
    """Remove a socket that refused a connection, unless its process may just be starting."""
    with suppress(OSError):
        about = found.path.lstat()
        is_old = time.time() - about.st_mtime > LEFT_OVER
        if about.st_uid == os.getuid() and (is_old or not _is_alive(found.pid)):
            found.path.unlink()
            return True
    return False


def sweep() -> None:
    """Remove what dead processes of this user left."""
    for found in find_sockets():
        if not _is_alive(found.pid):
            with socket.socket(socket.AF_UNIX) as line:
                line.setblocking(False)
                try:
                    line.connect(os.fspath(found.path))
                except ConnectionRefusedError:
                    remove_if_left_over(found)
                except OSError:
                    pass  # Of a container, perhaps, where numbers mean other processes.


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
