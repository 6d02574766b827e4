"""Servers that fall behind, hang, and come back, as the monitor sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connections
from django.test import override_settings

from django_connmgr import (
    NoReplica,
    replicas,
    unit_of_work,
    using_replica,
    wait_for_replicas,
)
from django_connmgr.backends.monitor import LONGEST_ANSWER
from django_connmgr.replicas import ReplicaStatus
from django_connmgr.signals import replica_state_changed
from testproject.cluster import DATABASE
from testproject.member import Member
from testproject.replication import Replication
from testproject.shop.models import Customer
from testproject.waiting import until

from .conftest import INTERVAL, REPLICA
from .test_routing import port_here

MIB = 1024 * 1024


def status_of(server: Member) -> ReplicaStatus:
    return next(status for status in replicas().status() if status.name == server.name)


def await_status(server: Member, condition: Callable[[ReplicaStatus], object]) -> None:
    until(lambda: bool(condition(status_of(server))), lambda: str(replicas().status()))


def read_once() -> int:
    with unit_of_work():
        return port_here()


def await_probes(project: Replication) -> None:
    """Until every replica was seen where the primary is."""
    read_once()
    for replica in project.replicas:
        await_status(replica, lambda status: status.lag_bytes == 0)


def write_much(server: Member, size: int) -> None:
    """So many bytes of the log."""
    with server.connect(DATABASE) as connection:
        connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', %s))", [size])


def settings(**more: Any) -> Any:
    return override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, **more})


def test_a_paused_replica_is_excluded_within_two_probes_of_a_mebibyte(
    project: Replication,
) -> None:
    paused, other = project.replicas
    with settings(MAX_LAG_BYTES=MIB // 2, PROBE_INTERVAL=0.5):
        await_probes(project)
        paused.pause_replay()
        write_much(project.primary, MIB)
        asked = count_probes()
        await_status(paused, lambda status: status.why_excluded == "lagging")
        assert asked[paused.name] <= 2
        assert {read_once() for _ in range(6)} == {other.port}
        assert status_of(paused).state == "up"


def test_one_that_lagged_is_read_from_again_when_it_is_at_half_of_the_limit(
    project: Replication,
) -> None:
    paused, other = project.replicas
    with settings(MAX_LAG_BYTES=MIB):
        await_probes(project)
        paused.pause_replay()
        write_much(project.primary, 2 * MIB)
        await_status(paused, lambda status: status.why_excluded == "lagging")
        paused.resume_replay()
        await_status(paused, lambda status: status.why_excluded == "")
        assert {read_once() for _ in range(6)} == {paused.port, other.port}


def test_an_idle_primary_excludes_nobody(project: Replication) -> None:
    """Though its last transaction is older than the limit."""
    with settings(MAX_LAG_SECONDS=0.5):
        await_probes(project)
        project.primary.ask("SELECT pg_sleep(1.5)")
        for replica in project.replicas:
            status = status_of(replica)
            assert (status.why_excluded, status.lag_bytes) == ("", 0)
            assert status.lag_seconds == pytest.approx(0, abs=0.2)


def test_one_that_is_cut_off_lags(project: Replication) -> None:
    """Though it has replayed all that it received."""
    cut, other = project.replicas
    with settings(MAX_LAG_SECONDS=0.3):
        await_probes(project)
        cut.cut()
        write_much(project.primary, 100)
        await_status(cut, lambda status: status.why_excluded == "lagging")
        assert status_of(other).why_excluded == ""
        cut.mend()


def test_a_delayed_replica_reports_its_delay(project: Replication) -> None:
    delayed, _ = project.replicas
    with settings():
        await_probes(project)
        delayed.delay(5)
        Customer.objects.create(name="Ada")
        seen = 0.0

        def is_caught_up() -> bool:
            nonlocal seen
            status = status_of(delayed)
            seen = max(seen, status.lag_seconds or 0.0)
            return status.lag_bytes == 0 and seen > 1

        until(is_caught_up, lambda: f"{delayed.name}: {status_of(delayed)}")
        assert seen == pytest.approx(5, abs=1)


@pytest.mark.parametrize("policy", ["primary", "least_lagged", "error"])
def test_policies_of_all_lagging(project: Replication, policy: str) -> None:
    first, second = project.replicas
    with settings(MAX_LAG_BYTES=MIB // 2, ON_ALL_LAGGING=policy):
        await_probes(project)
        first.pause_replay()
        write_much(project.primary, MIB)
        second.await_replayed()
        second.pause_replay()
        write_much(project.primary, MIB)
        for replica in project.replicas:
            await_status(replica, lambda status: status.why_excluded == "lagging")
        # It was excluded by the first write already.
        await_status(first, lambda status: (status.lag_bytes or 0) > 1.5 * MIB)
        if policy == "error":
            with unit_of_work(), pytest.raises(NoReplica, match=r"replica1 \(lagging\)"):
                port_here()
        else:
            least = second.port if policy == "least_lagged" else project.primary.port
            assert {read_once() for _ in range(4)} == {least}


def test_a_read_may_say_how_old_it_may_be(project: Replication) -> None:
    delayed, other = project.replicas
    with settings():
        await_probes(project)
        delayed.pause_replay()
        write_much(project.primary, 100)
        await_status(delayed, lambda status: (status.lag_seconds or 0) > 0.5)
        for _ in range(6):
            with unit_of_work(), using_replica(max_lag=0.4):
                assert port_here() == other.port
        other.pause_replay()
        write_much(project.primary, 100)
        await_status(other, lambda status: (status.lag_seconds or 0) > 0.5)
        with unit_of_work(), using_replica(max_lag=0.4):
            assert port_here() == project.primary.port
        with unit_of_work():
            port_here()  # The connection lies warm, to one that lags.
            with using_replica(max_lag=0.4, strict=True), pytest.raises(NoReplica, match="strict"):
                port_here()


def test_waiting_for_all_replicas(project: Replication) -> None:
    first, _ = project.replicas
    with settings():
        Customer.objects.create(name="Ada")
        assert wait_for_replicas(5)
        with unit_of_work(), using_replica():
            assert Customer.objects.count() == 1
        first.pause_replay()
        Customer.objects.create(name="Grace")
        assert not wait_for_replicas(0.1)
        timer = threading.Timer(0.05, first.resume_replay)
        timer.start()
        assert wait_for_replicas(10)
        timer.join()


def test_a_replica_that_is_killed_and_restarted_is_up_after_its_probation(
    project: Replication,
) -> None:
    down, other = project.replicas
    states = []

    def note(name: str, after: str, **kwargs: Any) -> None:
        if name == down.name:
            states.append(after)

    replica_state_changed.connect(note)
    try:
        with settings():
            await_probes(project)
            down.kill()
            await_status(down, lambda status: status.state == "down")
            assert {read_once() for _ in range(4)} == {other.port}
            down.start()
            await_status(down, lambda status: status.state == "up")
            assert down.port in {read_once() for _ in range(40)}
    finally:
        replica_state_changed.disconnect(note)
    assert states == ["down", "probation", "up"]


def test_flapping_five_times_costs_no_request(project: Replication) -> None:
    flapping, _ = project.replicas
    is_over, failures, reads = threading.Event(), [], [0]

    def read() -> None:
        while not is_over.is_set():
            try:
                read_once()
                reads[0] += 1
            except Exception as error:
                failures.append(error)
        for alias in ("default", REPLICA):
            connections[alias].close()

    with settings():
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                flapping.kill()
                flapping.start()
                flapping.await_connected()
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    assert failures == []
    assert reads[0] > 100


def test_a_server_that_hangs_delays_no_upkeep_and_costs_no_checkout_after_it_was_noticed(
    project: Replication,
) -> None:
    hanging, other = project.replicas
    with settings():
        await_probes(project)
        hanging.hang()
        await_status(hanging, lambda status: status.state == "suspect")
        before = status_of(other).replayed
        began = time.monotonic()
        assert {read_once() for _ in range(8)} == {other.port}
        assert time.monotonic() - began < 1
        # The other one is asked as ever.
        write_much(project.primary, 100)
        await_status(other, lambda status: status.replayed != before)
        until(
            lambda: status_of(hanging).state == "down",
            lambda: str(status_of(hanging)),
            2 * LONGEST_ANSWER + 5,
        )
        hanging.unhang()


def test_a_hanging_postmaster_slows_at_most_one_checkout_by_the_connect_timeout(
    project: Replication,
) -> None:
    hanging, other = project.replicas
    connections.settings[REPLICA]["OPTIONS"]["connect_timeout"] = 2
    with settings():
        hanging.hang()
        slow = 0
        for _ in range(20):
            began = time.monotonic()
            assert read_once() == other.port
            slow += time.monotonic() - began > 1
        assert slow <= 1
        hanging.unhang()
        await_status(hanging, lambda status: status.state == "up")


def test_unique_violations_and_bad_sql_leave_every_server_up(project: Replication) -> None:
    customer = Customer.objects.create(name="Ada")
    for _ in range(50):
        with unit_of_work(), pytest.raises(IntegrityError):
            Customer.objects.create(pk=customer.pk, name="Grace")
        with (
            unit_of_work(),
            pytest.raises(ProgrammingError),
            connections[REPLICA].cursor() as cursor,
        ):
            cursor.execute("SELECT nothing")
    assert {status.state for status in replicas().status()} == {"up"}


def count_probes() -> dict[str, int]:
    """How often each server is asked from here on."""
    asked: dict[str, int] = {}
    role: Any = connections[REPLICA].reader.role  # type: ignore[attr-defined]
    for target in role.monitor._targets:
        name = "primary" if target.host is None else target.host.name
        asked[name] = 0

        def counting(now: float, name: str = name, begin: Any = target.begin) -> None:
            asked[name] += 1
            begin(now)

        target.begin = counting
    return asked


def test_a_server_is_asked_once_in_each_interval(project: Replication) -> None:
    with settings(PROBE_INTERVAL=0.2):
        await_probes(project)
        asked, began = count_probes(), time.monotonic()
        until(lambda: min(asked.values()) >= 10, lambda: str(asked))
        # A busy machine asks less often, and none more.
        assert asked["replica1"] / (time.monotonic() - began) < 5 * 1.3
        assert len(asked) == 3
        assert max(asked.values()) - min(asked.values()) <= 1
