"""Another server becomes the primary: writes recover, and none is taken for what it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import Error, InternalError, connection, connections
from django.test import override_settings

from django_connmgr import current_token, pools, replicas, require_token, unit_of_work
from django_connmgr.signals import primary_changed
from testproject.cluster import DATABASE
from testproject.member import Member
from testproject.replication import Replication
from testproject.shop.models import Customer
from testproject.waiting import until

from .conftest import INTERVAL, REPLICA
from .test_lag import await_probes, await_status, read_once, status_of
from .test_routing import port_here


@pytest.fixture
def cluster(project: Replication) -> Iterator[Replication]:
    """All three servers are addresses of the primary."""
    default = connections.settings["default"]
    before = dict(default)
    default.update(
        HOST=",".join(server.host for server in project.servers),
        PORT=",".join(str(server.port) for server in project.servers),
        OPTIONS={**default["OPTIONS"], "target_session_attrs": "read-write"},
    )
    connections["default"].close()
    yield project
    connections["default"].close()
    default.update(before)


def write(name: str) -> int:
    """A row; returns on which port."""
    with unit_of_work():
        Customer.objects.create(name=name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT inet_server_port()")
            (port,) = cursor.fetchone()
            return int(port)


def await_write(name: str, seconds: float) -> int:
    """As ``write()``, as soon as it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return write(name)
        except Error:
            if time.monotonic() > deadline:
                raise


def rows(server: Member, name: str) -> int:
    return int(
        server.ask("SELECT count(*) FROM shop_customer WHERE name = %s", name, database=DATABASE)
    )


def test_writes_recover_when_a_standby_is_promoted(cluster: Replication) -> None:
    old, new = cluster.primary, cluster.replicas[0]
    assert write("before") == old.port
    cluster.await_replayed()
    old.kill()
    cluster.promote(new)
    assert await_write("after", 5) == new.port
    assert (rows(new, "before"), rows(new, "after")) == (1, 1)


def test_the_promoted_standby_is_read_from_no_more(cluster: Replication) -> None:
    old, new, other = cluster.servers
    await_probes(cluster)
    read_once()
    old.kill()
    cluster.promote(new)
    cluster.repoint(other)
    await_status(new, lambda status: status.state == "promoted")
    ports = {read_once() for _ in range(6)}
    assert ports <= {other.port}
    assert pools[f"{REPLICA}"].stats().leased == 0


def test_a_promoted_server_is_noticed_by_the_read_itself(cluster: Replication) -> None:
    """Though no probe has told: it says so when it is connected to."""
    _, new, other = cluster.servers
    with override_settings(CONNMGR={"PROBE_INTERVAL": 0}):
        cluster.primary.kill()
        cluster.promote(new)
        assert {read_once() for _ in range(4)} == {other.port}
        assert status_of(new).state == "promoted"


def test_no_token_of_the_old_timeline_is_taken_for_replayed(cluster: Replication) -> None:
    old, new, other = cluster.servers
    with unit_of_work():
        Customer.objects.create(name="Ada")
        token = current_token()
    await_probes(cluster)
    old.kill()
    cluster.promote(new)
    cluster.repoint(other)
    # Far beyond the token's number, on another timeline.
    for number in range(20):
        await_write(f"Customer {number}", 5)
    cluster.await_replayed()
    role: Any = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    until(
        lambda: role.monitor.latest.timeline == new.timeline(),
        lambda: f"{role.monitor.latest}",
    )
    await_status(other, lambda status: status.state == "up")
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "WAIT": 10}):
        for _ in range(6):
            began = time.monotonic()
            with unit_of_work():
                require_token(token)
                assert port_here() == new.port
            assert time.monotonic() - began < 10  # No replica was waited for.
    assert read_once() == other.port


def test_without_probes_an_old_token_leads_to_the_primary_as_well(cluster: Replication) -> None:
    old, new, other = cluster.servers
    with override_settings(CONNMGR={"PROBE_INTERVAL": 0, "WAIT": 0.05}):
        with unit_of_work():
            Customer.objects.create(name="Ada")
            token = current_token()
        old.kill()
        cluster.promote(new)
        cluster.repoint(other)
        await_write("Grace", 5)
        cluster.await_replayed()
        assert read_once() == other.port
        with unit_of_work():
            require_token(token)
            assert port_here() == new.port


def test_a_change_of_the_primary_is_told_and_its_connections_are_replaced(
    cluster: Replication,
) -> None:
    old, new, _ = cluster.servers
    told = []

    def note(primary: str, timeline: int, **kwargs: Any) -> None:
        told.append((primary, timeline))

    await_probes(cluster)
    write("before")
    primary_changed.connect(note)
    try:
        cluster.promote(new)  # The old one goes on, and takes writes that will be lost.
        old.kill()
        until(lambda: bool(told), lambda: "the change was told")
    finally:
        primary_changed.disconnect(note)
    assert told == [("default", new.timeline())]
    assert await_write("after", 5) == new.port


def test_a_demoted_primary_swallows_no_write(cluster: Replication) -> None:
    old, new, _ = cluster.servers
    assert write("before") == old.port
    cluster.promote(new)
    cluster.demote(old)
    failures, deadline, port = [], time.monotonic() + 5, 0
    while port != new.port and time.monotonic() < deadline:
        try:
            port = write("after")
        except Error as error:
            failures.append(error)
    assert port == new.port
    assert rows(new, "after") == 1


def test_a_primary_that_takes_no_writes_any_more_is_connected_to_anew(
    cluster: Replication,
) -> None:
    """A write says so, before any probe does."""
    with override_settings(CONNMGR={"PROBE_INTERVAL": 0}), unit_of_work():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        pool = pools["default"]
        cause = psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")
        opened = pool.stats().opened
        error = InternalError("cannot execute INSERT")
        error.__cause__ = cause
        with connection.cursor() as cursor:
            physical = connection.connection
            is_standby = type(pool.driver).is_standby
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(pool.driver), "is_standby", lambda *_: True)
                connection.note_refusal(error)  # type: ignore[attr-defined]
            assert is_standby(pool.driver, physical) is False
    write("after")
    assert pools["default"].stats().opened == opened + 1


def test_a_read_only_transaction_of_the_users_own_replaces_nothing(cluster: Replication) -> None:
    write("before")
    opened = pools["default"].stats().opened
    with unit_of_work(), connection.cursor() as cursor:
        cursor.execute("BEGIN READ ONLY")
        with pytest.raises(InternalError):
            cursor.execute("DELETE FROM shop_customer")
        cursor.execute("ROLLBACK")
    write("after")
    assert pools["default"].stats().opened == opened


def test_reading_the_primary_through_the_alias_of_replicas_finds_the_new_one(
    cluster: Replication,
) -> None:
    old, new, other = cluster.servers
    other.kill()
    old.kill()
    cluster.promote(new)
    until(lambda: read_once() == new.port, lambda: str(replicas().status()), 5)
