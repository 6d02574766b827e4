"""Faults of servers, and what is left of them when they are over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, connections, transaction
from django.test import override_settings

from django_connmgr import (
    NoReplica,
    ReplicaWriteError,
    pools,
    read_only,
    replicas,
    unit_of_work,
    using_primary,
    with_connection,
)
from django_connmgr.routers import explain_route
from testproject.cluster import DATABASE
from testproject.replication import Replication
from testproject.shop.models import Customer

from .conftest import REPLICA
from .test_routing import port_here


def let_rest() -> None:
    """Hosts that are down have rested long enough."""
    role: Any = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    for host in role.hosts.all:
        host.retry_at = 0.0


def states() -> set[str]:
    return {status.state for status in replicas().status()}


@pytest.fixture
def warm(project: Replication) -> Replication:
    """The pool of each replica has an idle connection."""
    for _ in range(2):
        with unit_of_work():
            port_here()
    return project


def test_after_an_outage_of_all_replicas_they_are_read_from_again(project: Replication) -> None:
    with override_settings(CONNMGR={"ON_NO_REPLICA": "error", "PROBE_INTERVAL": 0}):
        for replica in project.replicas:
            replica.kill()
        with unit_of_work(), pytest.raises(NoReplica):
            port_here()
        for replica in project.replicas:
            replica.start()
            replica.await_connected()
        let_rest()
        for _ in range(4):
            with unit_of_work():
                assert port_here() in {replica.port for replica in project.replicas}
    assert states() == {"up"}


@override_settings(CONNMGR={"PROBE_INTERVAL": 0})
def test_a_server_is_up_again_when_an_idle_connection_to_it_answers(project: Replication) -> None:
    for _ in range(2):
        with unit_of_work():
            port_here()
    role: Any = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    role.note_failure(role.hosts.all[0], OperationalError("gone"))
    assert states() == {"up", "down"}
    let_rest()
    for _ in range(2):
        with unit_of_work():
            port_here()
    assert states() == {"up"}


def test_a_cancelled_read_sends_its_thread_to_the_other_server_only_once(
    warm: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unit_of_work(), connections[REPLICA].cursor() as cursor:
        execute, failures = cursor._execute, [psycopg.errors.SerializationFailure("conflict")]

        def cancelled_once(*args: Any) -> Any:
            if failures:
                with connections[REPLICA].wrap_database_errors:
                    raise failures.pop()
            return execute(*args)

        monkeypatch.setattr(cursor, "_execute", cancelled_once)
        cursor.execute("SELECT 1")
    ports = set()
    for _ in range(4):
        with unit_of_work():
            ports.add(port_here())
    assert ports == {replica.port for replica in warm.replicas}
    assert states() == {"up"}


def test_a_read_in_a_block_runs_again_when_its_connection_is_lost(project: Replication) -> None:
    with unit_of_work(), with_connection(REPLICA):
        port = port_here()
        next(replica for replica in project.replicas if replica.port == port).kill()
        assert port_here() != port
        assert pools[REPLICA].stats().leased == 1


def test_a_read_that_takes_its_connection_down_runs_twice_and_no_more(
    project: Replication,
) -> None:
    with unit_of_work(), connections[REPLICA].cursor() as cursor, pytest.raises(OperationalError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert pools["default"].stats().leased == 0


def test_leases_are_counted_whatever_looked_at_the_pool_first(project: Replication) -> None:
    with unit_of_work(), transaction.atomic(using=REPLICA), connections[REPLICA].cursor():
        assert sum(status.leased for status in replicas().status()) == 1


def test_nested_units_and_their_threads_read_from_one_server(project: Replication) -> None:
    connections.settings[REPLICA]["OPTIONS"]["pool"] = {"max_size": 2, "release": "transaction"}
    with unit_of_work():
        ports = [port_here()]
        for _ in range(3):
            with unit_of_work():
                ports.append(port_here())
            ports.append(port_here())
    assert len(set(ports)) == 1


def test_outside_of_units_each_query_chooses(project: Replication) -> None:
    assert {port_here() for _ in range(4)} == {replica.port for replica in project.replicas}
    replicas().drain("replica1")
    assert {port_here() for _ in range(4)} == {project.replicas[1].port}


# Writes that are not simple


def copy_in(cursor: Any) -> None:
    with cursor.copy("COPY shop_customer (name) FROM STDIN") as copy:
        copy.write_row(["Ada"])


WRITES = {
    "composed": lambda cursor: cursor.execute(
        psycopg.sql.SQL("INSERT INTO {} (name) VALUES ('Ada')").format(
            psycopg.sql.Identifier("shop_customer")
        )
    ),
    "bytes": lambda cursor: cursor.execute(b"INSERT INTO shop_customer (name) VALUES ('Ada')"),
    "several": lambda cursor: cursor.execute(
        "BEGIN; INSERT INTO shop_customer (name) VALUES ('Ada'); COMMIT"
    ),
    "explained": lambda cursor: cursor.execute(
        "EXPLAIN ANALYZE INSERT INTO shop_customer (name) VALUES ('Ada')"
    ),
    "copied": copy_in,
}


@pytest.mark.parametrize("how", WRITES)
def test_a_write_of_any_kind_is_noted_and_refused(project: Replication, how: str) -> None:
    with unit_of_work():
        with read_only(), connection.cursor() as cursor, pytest.raises(ReplicaWriteError):
            WRITES[how](cursor)
        with connections[REPLICA].cursor() as cursor, pytest.raises(ReplicaWriteError):
            WRITES[how](cursor)
        assert explain_route(Customer).startswith(REPLICA)
        with connection.cursor() as cursor:
            WRITES[how](cursor)
        assert explain_route(Customer).startswith("default")
        assert Customer.objects.filter(name="Ada").exists()


def test_a_lock_by_a_procedure_call_is_refused(project: Replication) -> None:
    with (
        unit_of_work(),
        connections[REPLICA].cursor() as cursor,
        pytest.raises(ReplicaWriteError),
    ):
        cursor.callproc("pg_advisory_lock", [1])


def test_reads_of_a_transaction_by_hand_stay_on_the_primary(project: Replication) -> None:
    with unit_of_work():
        transaction.set_autocommit(False)
        try:
            assert explain_route(Customer) == "default: a transaction is open on the primary"
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


def test_one_block_serves_two_tasks_at_once(project: Replication) -> None:
    block = using_primary()

    @contextlib.contextmanager
    def entered() -> Iterator[None]:
        with block, block:
            yield

    async def read() -> str:
        with entered():
            pass
        return explain_route(Customer)

    with unit_of_work(), block:
        assert async_to_sync(read)().startswith("default")
    with unit_of_work():
        assert explain_route(Customer).startswith(REPLICA)
        assert project.primary.ask("SELECT 1", database=DATABASE) == 1


def test_the_pool_that_reads_from_the_primary_is_called_so(project: Replication) -> None:
    for replica in project.replicas:
        replica.kill()
    with unit_of_work():
        port_here()
        assert pools[REPLICA].name == f"{REPLICA}@default"
