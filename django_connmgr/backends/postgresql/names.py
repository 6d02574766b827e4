"""By which name connections are known to the server: ``application_name``."""

import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from ...project import project_name

#: The most bytes that PostgreSQL keeps.
MOST_BYTES = 63
_SETS_NAME = re.compile(r"-c\s*application_name\s*=|--application[-_]name\s*=")


def application_name(alias: str) -> str:
    """``project:host:pid:alias`` of this process, within what PostgreSQL keeps.

    Where that is too long, the host's name is cut first, then the project's, then the alias's.
    """
    host = socket.gethostname().partition(".")[0]
    project, host, alias = (_plain(text) for text in (project_name(), host, alias))
    pid = str(os.getpid())
    excess = len(f"{project}:{host}:{pid}:{alias}") - MOST_BYTES
    host, excess = _cut(host, excess)
    project, excess = _cut(project, excess)
    alias, _ = _cut(alias, excess)
    return f"{project}:{host}:{pid}:{alias}"


def is_named_by_user(params: Mapping[str, Any]) -> bool:
    """Whether the user gives connections a name: in the options, by a service, the environment."""
    return bool(
        "application_name" in params
        or params.get("service")
        or os.environ.get("PGAPPNAME")
        or _SETS_NAME.search(str(params.get("options", "")))
    )


def _plain(text: str) -> str:
    """The server replaces all but printable ASCII; a colon would look like ours."""
    return re.sub(r"[^!-9;-~]", "?", text)


def _cut(text: str, excess: int) -> tuple[str, int]:
    """Without its end, as far as ``excess`` asks for; and what is left of that."""
    removed = min(max(excess, 0), max(len(text) - 1, 0))
    return text[: len(text) - removed], excess - removed
