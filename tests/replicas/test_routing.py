"""Which server reads, on a primary with two streaming standbys."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.test import override_settings

from django_connmgr import (
    ReplicaWriteError,
    ThreadPoolExecutor,
    consistency,
    current_token,
    marks_write,
    read_only,
    replicas,
    unit_of_work,
    using_primary,
    using_replica,
)
from django_connmgr.consistency import memory
from django_connmgr.registry import registry
from django_connmgr.routers import explain_route
from testproject.cluster import DATABASE
from testproject.replication import Replication
from testproject.shop.models import Customer, Order
from testproject.waiting import until

from .conftest import INTERVAL, REPLICA


def port_here(alias: str = REPLICA) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT inet_server_port()")
        return int(cursor.fetchone()[0])


def opened() -> dict[str, int]:
    """Connections by pool, of those to the servers of this test."""
    return {
        pool.name: pool.stats().opened
        for pool in registry.all()
        if pool.name == "default" or pool.name.startswith(REPLICA)
    }


def test_a_plain_read_goes_to_a_replica_and_leaves_the_primary_alone(project: Replication) -> None:
    before = opened()["default"]
    with unit_of_work():
        customers = Customer.objects.all()
        assert (list(customers), customers.db) == ([], REPLICA)
    after = opened()
    assert after.pop("default") == before
    assert sum(after.values()) == 1


def test_shares_follow_the_weights(project: Replication) -> None:
    connections.settings[REPLICA]["OPTIONS"]["hosts"][0]["WEIGHT"] = 3
    reads: Counter[int] = Counter()
    for _ in range(200):
        with unit_of_work():
            reads[port_here()] += 1
    first, second = (reads[replica.port] for replica in project.replicas)
    assert first == pytest.approx(150, abs=15)
    assert second == pytest.approx(50, abs=5)


def test_twenty_queries_of_one_unit_use_one_host_and_one_checkout(project: Replication) -> None:
    with unit_of_work() as unit:
        ports = {port_here() for _ in range(20)}
        assert len(ports) == 1
    assert sum(unit.counts.values()) == 1


def test_all_threads_of_a_unit_read_from_one_host(project: Replication) -> None:
    with unit_of_work(), ThreadPoolExecutor(4) as executor:
        ports = set(executor.map(lambda _: port_here(), range(8)))
    assert len(ports) == 1


def test_a_unit_reads_what_it_wrote_though_no_replica_has_it(project: Replication) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    with unit_of_work():
        customer = Customer.objects.create(name="Ada")
        assert Customer.objects.get(name="Ada") == customer
        customer.refresh_from_db()
        Order.objects.create(customer=customer, amount=1)
        assert customer.orders.count() == 1
        assert len(Customer.objects.prefetch_related("orders")[0].orders.all()) == 1
    with unit_of_work():
        assert not Customer.objects.exists()
        with consistency("primary"):
            assert Customer.objects.exists()


def test_an_update_that_meets_no_row_is_no_write(project: Replication) -> None:
    with unit_of_work():
        Customer.objects.filter(name="nobody").update(name="Ada")
        assert explain_route(Customer).startswith(REPLICA)
        marks_write()
        assert explain_route(Customer) == "default: this unit of work has written"


def test_a_nested_unit_reads_what_the_outer_one_wrote_and_the_other_way_round(
    project: Replication,
) -> None:
    with unit_of_work():
        with unit_of_work():
            Customer.objects.create(name="Ada")
        assert explain_route(Customer).startswith("default")
        with unit_of_work():
            assert explain_route(Customer).startswith("default")
    with unit_of_work():
        assert explain_route(Customer).startswith(REPLICA)


def test_reads_in_a_transaction_on_the_primary_stay_there(project: Replication) -> None:
    with unit_of_work(), transaction.atomic():
        assert explain_route(Customer) == "default: a transaction is open on the primary"
        assert not Customer.objects.select_for_update().exists()


def test_a_transaction_on_the_replica_sees_one_snapshot(project: Replication) -> None:
    with unit_of_work(), transaction.atomic(using=REPLICA):
        with connections[REPLICA].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert not Customer.objects.exists()
        add_elsewhere(project)
        assert not Customer.objects.exists()


def add_elsewhere(replication: Replication) -> None:
    """A row that another process writes, and that the replicas have."""
    replication.primary.ask(
        "INSERT INTO shop_customer (name) VALUES ('Ada') RETURNING id", database="connmgr"
    )
    replication.await_replayed()


def test_what_reads_before_it_writes_does_both_on_the_primary(project: Replication) -> None:
    with unit_of_work():
        customer, is_new = Customer.objects.get_or_create(name="Ada")
        assert (is_new, customer._state.db) == (True, "default")
        Customer.objects.bulk_create([Customer(name="Grace")])
        assert Customer.objects.count() == 2


def test_reads_of_an_instance_follow_it(project: Replication) -> None:
    add_elsewhere(project)
    with unit_of_work():
        with using_primary():
            customer = Customer.objects.get()
        assert explain_route(Order, instance=customer) == (
            "default: the instance is from the primary"
        )
        assert customer.orders.all().db == "default"
        assert Customer.objects.get().orders.all().db == REPLICA


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO shop_customer (name) VALUES ('x')",
        "/* c */ update shop_customer SET name = 'x'",
        "WITH gone AS (DELETE FROM shop_customer RETURNING id) SELECT * FROM gone",
        "CREATE TABLE t (i int)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT * FROM shop_customer FOR UPDATE",
        "COPY shop_customer FROM STDIN",
    ],
)
def test_the_reading_role_refuses_writes_and_locks_before_they_are_sent(
    project: Replication, sql: str
) -> None:
    with (
        unit_of_work(),
        connections[REPLICA].cursor() as cursor,
        pytest.raises(ReplicaWriteError, match="reads from replicas"),
    ):
        cursor.execute(sql)


def test_a_write_by_name_of_the_reading_role_opens_no_transaction(project: Replication) -> None:
    with unit_of_work(), pytest.raises(ReplicaWriteError):
        Customer.objects.using(REPLICA).create(name="Ada")


def test_a_write_that_no_one_can_see_coming_is_refused_by_the_server(
    project: Replication,
) -> None:
    """By the session, so that a promoted replica swallows none either."""
    with unit_of_work(), connections[REPLICA].cursor() as cursor:
        cursor.execute("SHOW default_transaction_read_only")
        assert cursor.fetchone() == ("on",)


@pytest.mark.parametrize("block", [read_only, using_replica])
def test_blocks_that_forbid_writes_refuse_them_on_the_primary_too(
    project: Replication, block: type
) -> None:
    with unit_of_work(), block(), pytest.raises(ReplicaWriteError, match="A write inside"):
        Customer.objects.create(name="Ada")


def test_modes_nest_and_decorate(project: Replication) -> None:
    @using_primary()
    def reads() -> str:
        return explain_route(Customer)

    with unit_of_work():
        assert reads() == "default: using_primary()"
        with using_primary():
            with using_replica():
                assert explain_route(Customer) == f"{REPLICA}: using_replica()"
                assert reads() == "default: using_primary()"
            assert explain_route(Customer) == "default: using_primary()"
        assert explain_route(Customer).startswith(REPLICA)


def test_a_killed_replica_costs_no_read(project: Replication) -> None:
    for _ in range(4):  # Both have an idle connection.
        with unit_of_work():
            port_here()
    killed, other = project.replicas
    killed.kill()
    for _ in range(10):
        with unit_of_work():
            assert port_here() == other.port


def test_with_all_replicas_gone_the_primary_reads(project: Replication) -> None:
    for replica in project.replicas:
        replica.kill()
    with unit_of_work():
        assert port_here() == project.primary.port
        assert not Customer.objects.exists()
        with pytest.raises(ReplicaWriteError):
            Customer.objects.using(REPLICA).create(name="Ada")


def test_a_replica_that_comes_back_is_read_from_again(project: Replication) -> None:
    down, other = project.replicas
    down.kill()
    for _ in range(3):
        with unit_of_work():
            assert port_here() == other.port
    down.start()
    down.await_connected()
    ports = set()

    def is_read() -> bool:
        with unit_of_work():
            ports.add(port_here())
        return down.port in ports

    until(is_read, lambda: f"{down.name} is read from: {replicas().status()}")


def test_bad_sql_leaves_every_host_up(project: Replication) -> None:
    for _ in range(20):
        with (
            unit_of_work(),
            connections[REPLICA].cursor() as cursor,
            pytest.raises(ProgrammingError, match="does not exist"),
        ):
            cursor.execute("SELECT nothing")
    role = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    assert {host.state.value for host in role.hosts.all} == {"up"}


def test_nothing_is_leased_on_any_server_after_a_unit_with_threads(project: Replication) -> None:
    def work() -> None:
        with unit_of_work():
            port_here()
            port_here("default")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {pool.stats().leased for pool in registry.all()} == {0}
    assert all(pool.stats().size <= 2 for pool in registry.all())


def test_a_read_whose_server_dies_under_it_runs_again_elsewhere(project: Replication) -> None:
    with unit_of_work(), connections[REPLICA].cursor() as cursor:
        cursor.execute("SELECT inet_server_port()")
        (port,) = cursor.fetchone()
        killed = next(replica for replica in project.replicas if replica.port == port)
        killed.kill()
        cursor.execute("SELECT inet_server_port()")
        assert cursor.fetchone() != (port,)


def test_a_read_in_a_transaction_does_not_run_again(project: Replication) -> None:
    with unit_of_work(), pytest.raises(OperationalError), transaction.atomic(using=REPLICA):
        port = port_here()
        next(replica for replica in project.replicas if replica.port == port).kill()
        port_here()


def test_a_read_that_a_conflict_cancels_runs_again_elsewhere(project: Replication) -> None:
    with unit_of_work(), connections[REPLICA].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), inet_server_port()")
        pid, port = cursor.fetchone()
        reading = next(replica for replica in project.replicas if replica.port == port)

        def cancel() -> None:
            is_slow = "SELECT query LIKE '%%pg_sleep%%' FROM pg_stat_activity WHERE pid = %s"
            until(lambda: bool(reading.ask(is_slow, pid)), lambda: "the query does not run")
            project.conflict(reading, database=DATABASE)

        thread = threading.Thread(target=cancel)
        thread.start()
        cursor.execute(f"SELECT CASE inet_server_port() WHEN {port} THEN pg_sleep(30)::text END")
        thread.join()
        cursor.execute("SELECT inet_server_port()")
        assert cursor.fetchone() != (port,)
    role = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    assert {host.state.value for host in role.hosts.all} == {"up"}


def test_outside_of_units_a_write_is_remembered_for_a_moment(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    Customer.objects.create(name="Ada")
    assert explain_route(Customer) == "default: this unit of work has written"
    monkeypatch.setattr(memory, "WINDOW", 0.0)
    assert explain_route(Customer).startswith(REPLICA)


@pytest.mark.parametrize("detection", ["statements", "xid"])
def test_a_function_that_writes_is_noticed_at_the_commit_if_the_server_is_asked(
    project: Replication, detection: str
) -> None:
    settings = {"PROBE_INTERVAL": INTERVAL, "WRITE_DETECTION": detection}
    with override_settings(CONNMGR=settings), unit_of_work():
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        assert explain_route(Customer).startswith(REPLICA)
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
        is_noticed = detection == "xid"
        assert explain_route(Customer).startswith("default") is is_noticed
        assert (current_token() is not None) is is_noticed
