"""The servers, as users see and steer them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from django_connmgr import NoReplica, consistency, replicas, unit_of_work
from django_connmgr._pool.position import Position
from django_connmgr.registry import registry
from django_connmgr.replica_checks import check_servers
from django_connmgr.routers import explain_route
from testproject.cluster import DATABASE
from testproject.replication import Replication
from testproject.shop.models import Customer, Order

from .conftest import REPLICA
from .test_routing import port_here


def states() -> dict[str, str]:
    return {status.name: status.state for status in replicas().status()}


def test_status_tells_of_each_server_and_its_leases(project: Replication) -> None:
    assert states() == {"replica1": "up", "replica2": "up"}
    with unit_of_work(), connections[REPLICA].cursor():
        assert sum(status.leased for status in replicas().status()) == 1
    assert replicas("file").status() == []


def test_a_drained_server_is_left_alone_until_it_is_enabled(project: Replication) -> None:
    replicas().drain("replica1")
    second = project.replicas[1].port
    for _ in range(4):
        with unit_of_work():
            assert port_here() == second
    assert states() == {"replica1": "draining", "replica2": "up"}
    replicas().enable("replica1")
    assert states() == {"replica1": "up", "replica2": "up"}
    with pytest.raises(KeyError, match="no replica 'replica3'; there are: replica1, replica2"):
        replicas().drain("replica3")


def test_one_that_cannot_be_reached_is_down(project: Replication) -> None:
    project.replicas[0].kill()
    for _ in range(2):
        with unit_of_work():
            port_here()
    assert states() == {"replica1": "down", "replica2": "up"}


def test_without_a_replica_it_may_be_an_error(project: Replication) -> None:
    replicas().drain("replica1")
    replicas().drain("replica2")
    with (
        override_settings(CONNMGR={"ON_NO_REPLICA": "error"}),
        unit_of_work(),
        pytest.raises(NoReplica, match=r"replica1 \(draining\)"),
    ):
        port_here()
    with unit_of_work():
        assert port_here() == project.primary.port


def test_models_and_levels_choose_the_primary(project: Replication) -> None:
    with override_settings(CONNMGR={"ALWAYS_PRIMARY": ["shop.Order"]}), unit_of_work():
        assert explain_route(Order) == "default: ALWAYS_PRIMARY"
        assert explain_route(Customer).startswith(REPLICA)
    with override_settings(CONNMGR={"CONSISTENCY": "primary"}), unit_of_work():
        assert explain_route(Customer) == "default: consistency 'primary'"
        with consistency("eventual"):
            assert explain_route(Customer).startswith(REPLICA)


def test_the_command_asks_each_server(project: Replication) -> None:
    first, second = project.replicas
    first.pause_replay()
    Customer.objects.create(name="Ada")
    second.await_replayed()
    second.kill()
    out = StringIO()
    call_command("connmgr", "replicas", stdout=out)
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["alias", "default", REPLICA, REPLICA]
    assert lines[0].split()[3:] == ["bytes", "seconds", "replayed", "sessions"]
    assert "primary" in lines[1]
    _, server, state, behind, seconds, replayed, sessions = lines[2].split()
    assert (server, state, sessions) == ("replica1", "up", "0")
    assert int(behind.replace(",", "")) > 0
    assert float(seconds) < 60
    assert Position.parse(replayed).timeline == first.timeline()
    assert lines[3].split()[1:] == ["replica2", "down"]
    assert all(len(line) <= 80 for line in lines)


def test_a_mirror_reads_from_the_primary_and_asks_no_replica(project: Replication) -> None:
    wrapper = connections[REPLICA]
    wrapper.creation.set_as_test_mirror(connections["default"].settings_dict)
    with unit_of_work():
        assert port_here() == project.primary.port


def found_on_servers() -> list[tuple[str, str]]:
    messages = check_servers(databases=["default", REPLICA])
    return [(str(message.id), message.msg.partition("server ")[2]) for message in messages]


def test_a_check_asks_the_servers_if_a_database_is_named(project: Replication) -> None:
    first, second = project.replicas
    assert check_servers() == []
    assert found_on_servers() == [
        ("connmgr.W007", f"{replica.name} has a user that may write, should it be promoted.")
        for replica in project.replicas
    ]
    second.kill()
    with project.primary.connect(DATABASE) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'")
    first.await_replayed()
    role = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    for settings in role.settings.values():
        settings.update(USER="reader", PASSWORD="secret")
    try:
        assert found_on_servers() == [
            ("connmgr.W008", "replica2 cannot be reached: OperationalError.")
        ]
    finally:
        registry.close(REPLICA)
        with project.primary.connect(DATABASE) as connection:
            connection.execute("DROP ROLE reader")


def test_a_check_finds_a_server_that_takes_writes(project: Replication) -> None:
    first, _ = project.replicas
    project.promote(first)
    assert ("connmgr.W006", "replica1 takes writes.") in found_on_servers()
