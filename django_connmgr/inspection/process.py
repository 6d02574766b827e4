"""What this process is: what it runs, since when, of which project."""

import os
import platform
import sys
import time
from pathlib import PurePath
from typing import Any

from .. import __version__
from ..project import project_name

#: Programs whose processes serve or work, and what one of them is called.
_PROGRAMS = {
    "gunicorn": "gunicorn worker",
    "uvicorn": "uvicorn",
    "hypercorn": "hypercorn",
    "daphne": "daphne",
    "granian": "granian",
    "waitress-serve": "waitress",
    "pytest": "pytest",
}
_started = time.time()


def describe_process() -> dict[str, Any]:
    """Of the calling process, as JSON takes it. Of its arguments only what it runs is told."""
    return {
        "pid": os.getpid(),
        "project": project_name(),
        "role": find_role(sys.argv),
        "started": _started,
        "python": platform.python_version(),
        "version": __version__,
    }


def note_start() -> None:
    """In a forked child: it began now."""
    global _started  # noqa: PLW0603
    _started = time.time()


def find_role(argv: list[str]) -> str:
    """What a process with these arguments runs, in a word or two."""
    if "uwsgi" in sys.modules:
        return "uwsgi worker"
    if "mod_wsgi" in sys.modules:
        return "mod_wsgi"
    program = PurePath(argv[0]) if argv and argv[0] else PurePath("python")
    name = program.parent.name if program.name == "__main__.py" else program.name
    words = [word for word in argv[1:] if not word.startswith("-")]
    if name == "celery":
        known = next((word for word in words if word in {"worker", "beat", "events"}), "")
        return f"celery {known}".strip()
    if name in {"manage.py", "django-admin", "django"}:
        return f"manage.py {words[0]}" if words else "manage.py"
    if name == "-c":
        return "python -c"
    return _PROGRAMS.get(name, name)
