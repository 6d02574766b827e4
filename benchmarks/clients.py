"""How a contestant is used by code that makes queries."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from .contestants import PoolSettings
from .gate import Gate
from .project import databases, set_up
from .scenario import Stage
from .server import Address


@dataclass(frozen=True)
class Client:
    #: ``SELECT 1``, on a connection that is there or is taken for it.
    query: Callable[[], object]
    #: A request: Django's own signals at its start and its end.
    request: Callable[[], AbstractContextManager[None]]


def make_client(stage: Stage, settings: PoolSettings, server: Address | None = None) -> Client:
    """The stage's contestant, ready for use, at ``server`` or at the stage's own."""
    server = server or stage.server
    if stage.contestant.database is None:
        return Client(_bare_query(server), contextlib.nullcontext)
    set_up(databases(stage.contestant, server, settings))
    # Connects Django's own receivers of these signals, as in every process that serves requests.
    import django.core.handlers.base  # noqa: F401

    query = django_query()
    return Client(gated(query, settings.size) if stage.contestant.is_gated else query, request)


def gated(query: Callable[[], object], size: int) -> Callable[[], object]:
    """``query``, made by no more than ``size`` threads at the same time."""
    gate = Gate(size)

    def query_in_turn() -> object:
        gate.enter()
        try:
            return query()
        finally:
            gate.leave()

    return query_in_turn


def django_query() -> Callable[[], object]:
    from django.db import connection

    def query() -> object:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()

    return query


@contextlib.contextmanager
def request() -> Iterator[None]:
    from django.core.signals import request_finished, request_started

    request_started.send(sender=Client, environ={})
    try:
        yield
    finally:
        request_finished.send(sender=Client)


def _bare_query(server: Address) -> Callable[[], object]:
    """On a connection for each thread, set up as Django sets up its own."""
    import psycopg

    local = threading.local()

    def query() -> object:
        connection = getattr(local, "connection", None)
        if connection is None:
            connection = local.connection = psycopg.connect(
                autocommit=True,
                prepare_threshold=None,
                cursor_factory=psycopg.ClientCursor,
                **server.conninfo(),
            )
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()

    return query
