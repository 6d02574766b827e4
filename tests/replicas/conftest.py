"""Fixtures for tests on a primary and its streaming standbys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_connmgr.registry import registry
from testproject.cluster import DATABASE, USER, ServerMissing
from testproject.replication import Replication, running_replication
from testproject.shop.models import Customer, Order

REPLICA = "copies"
#: Seconds from one probe of a server to the next.
INTERVAL = 0.05


@pytest.fixture(scope="session")
def replication() -> Iterator[Replication]:
    """A primary and two standbys. Tests may break them: each test finds them healthy."""
    try:
        with running_replication() as running:
            yield running
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> None:
    """Bring every server back to health before a test that uses them."""
    if "replication" in request.fixturenames:
        request.getfixturevalue("replication").heal()


@pytest.fixture(scope="session")
def tables(replication: Replication, django_db_blocker: Any) -> None:
    """The tables of the shop, on the primary and so on its standbys."""
    with django_db_blocker.unblock():
        make_tables(replication)


def make_tables(replication: Replication) -> None:
    with databases(replication):
        with connections["default"].schema_editor() as editor:
            for model in (Customer, Order):
                editor.create_model(model)
        connections["default"].close()
    replication.await_replayed()


class databases:
    """``DATABASES`` with the primary for ``default`` and both standbys behind one alias."""

    def __init__(self, replication: Replication, **options: Any) -> None:
        primary = replication.primary
        self._default = {
            **connections.settings["default"],
            "NAME": DATABASE,
            "USER": USER,
            "PASSWORD": primary.password,
            "HOST": primary.host,
            "PORT": str(primary.port),
            "OPTIONS": {"pool": {"max_size": 2}},
        }
        hosts = [
            {"HOST": replica.host, "PORT": str(replica.port), "LABEL": replica.name}
            for replica in replication.replicas
        ]
        blank = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
        options = {"pool": {"max_size": 2}, "replica_of": "default", "hosts": hosts, **options}
        self._copies = {**self._default, **blank, "OPTIONS": options}

    def __enter__(self) -> None:
        self._before = connections.settings["default"]
        self._change({"default": self._default, REPLICA: self._copies})

    def __exit__(self, *exc_info: object) -> None:
        self._change({"default": self._before})

    def _change(self, changes: dict[str, Any]) -> None:
        for alias in ("default", REPLICA):
            if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
                connections[alias].close()
                del connections[alias]
            registry.close(alias)
        connections.settings.pop(REPLICA, None)
        connections.settings.update(changes)


@pytest.fixture
def project(
    replication: Replication, tables: None, django_db_blocker: Any
) -> Iterator[Replication]:
    """The servers, with the router, and no rows; no connection may be left leased."""
    with (
        django_db_blocker.unblock(),
        databases(replication),
        override_settings(
            DATABASE_ROUTERS=["django_connmgr.routers.ReplicaRouter"],
            CONNMGR={"PROBE_INTERVAL": INTERVAL},
        ),
    ):
        Order.objects.all().delete()
        Customer.objects.all().delete()
        replication.await_replayed()
        connections["default"].close()
        yield replication
        for alias in ("default", REPLICA):
            connections[alias].close()
        leased = {pool.name: pool.stats().leased for pool in registry.all()}
    assert not any(leased.values()), f"{leased} connections did not come back"
