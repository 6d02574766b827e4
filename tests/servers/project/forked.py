"""The project under uWSGI with a hook of its own, which uses the database in each worker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import uwsgi


def hook() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        line = f"{os.getpid()} {cursor.fetchone()[0]}\n"
    with Path(json.loads(os.environ["PROJECT_NOTES"])).open("a") as notes:
        notes.write(line)


def load() -> None:
    hook()  # What loads the application has a connection.
    if json.loads(os.environ["PROJECT_DECORATED"]):
        from uwsgidecorators import postfork

        postfork(hook)


uwsgi.post_fork_hook = hook

from .wsgi import application  # noqa: F401

load()
