"""The PostgreSQL server that the demonstration runs on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from ..cluster import ServerMissing, running_cluster
from ..databases import EXAMPLE, parse_url

#: Limit of the server that the demonstration starts: fewer than the 64 clients of a round.
MAX_CONNECTIONS = 20


class DemoError(Exception):
    """The demonstration cannot run. The message says why, and what to do."""


class Database:
    """Where the database is; connects to it without Django."""

    def __init__(self, url: str) -> None:
        self.url = url
        config = parse_url(url)
        if "postg" not in config["ENGINE"]:
            raise DemoError(
                f"The demonstration needs PostgreSQL. Set DATABASE_URL to {EXAMPLE}, "
                f"or unset it to have a server started."
            )
        self._parameters = {
            "host": config["HOST"],
            "port": config["PORT"],
            "user": config["USER"],
            "password": config["PASSWORD"],
            "dbname": config["NAME"],
            **config.get("OPTIONS", {}),
        }

    def connect(self, application_name: str) -> psycopg.Connection[Any]:
        """A connection of the demonstration itself, which the server lists under this name."""
        try:
            return psycopg.connect(
                make_conninfo(
                    **{name: value for name, value in self._parameters.items() if value},
                    application_name=application_name,
                    connect_timeout=5,
                ),
                autocommit=True,
            )
        except psycopg.Error as error:
            raise DemoError(
                f"Cannot connect to the database of DATABASE_URL: {str(error).strip()}\n"
                "Correct it, or unset it to have a server started."
            ) from error


@contextlib.contextmanager
def open_database() -> Iterator[Database]:
    """The database of ``DATABASE_URL``, or one on a server that is started for the block."""
    url = os.environ.get("DATABASE_URL")
    if url:
        yield Database(url)
        return
    try:
        with running_cluster(settings={"max_connections": str(MAX_CONNECTIONS)}) as cluster:
            yield Database(cluster.url)
    except ServerMissing as error:
        raise DemoError(f"{error} Or set DATABASE_URL to a server of yours.") from error
