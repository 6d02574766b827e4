"""``ReplicaMirrorMixin``, in a test case that is run inside a test."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import TestCase, override_settings

from django_connmgr import NoReplica, replicas, unit_of_work, using_primary, using_replica
from django_connmgr._pool.host import Bounds, Report
from django_connmgr.registry import registry
from django_connmgr.routers import explain_route
from django_connmgr.testing import ReplicaMirrorMixin, simulate_down, simulate_lag
from testproject.shop.models import Customer

REPLICA = "copies"
PLUGIN = "django_connmgr.pytest_plugin"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def replica(pool_of: object) -> Iterator[None]:
    """An alias of replicas, none of which is there."""
    default = connections.settings["default"]
    connections.settings[REPLICA] = {
        **default,
        "OPTIONS": {"replica_of": "default", "hosts": [{"HOST": "127.0.0.1", "PORT": "1"}]},
        "TEST": {**default["TEST"], "MIRROR": "default"},
    }
    with override_settings(DATABASE_ROUTERS=["django_connmgr.routers.ReplicaRouter"]):
        yield
    connections[REPLICA].close()
    registry.close(REPLICA)
    del connections[REPLICA]
    del connections.settings[REPLICA]
    connections["default"].execute_wrappers.clear()
    del connections["default"]


def cases() -> tuple[type[TestCase], type[TestCase]]:
    """In a function, so that pytest does not run them."""

    class Plain(TestCase):
        databases = frozenset({"default", REPLICA})

        def test_rows(self) -> None:
            Customer.objects.create(name="Ada")
            with using_primary():
                assert Customer.objects.count() == 1
            assert Customer.objects.using(REPLICA).count() == 1

    class Mirrored(ReplicaMirrorMixin, Plain):
        def test_routes(self) -> None:
            with unit_of_work():
                assert explain_route(Customer).startswith(REPLICA)

        def test_reads(self) -> None:
            with unit_of_work(), self.assertReadsFrom("replica"), self.assertReadsFrom(REPLICA):
                assert not Customer.objects.exists()
            with unit_of_work(), using_primary(), self.assertReadsFrom("primary"):
                assert list(Customer.objects.iterator()) == []
            with (
                unit_of_work(),
                pytest.raises(AssertionError, match="copies: SELECT"),
                self.assertReadsFrom("default"),
            ):
                Customer.objects.count()
            with (
                pytest.raises(AssertionError, match="nothing was read"),
                self.assertReadsFrom("replica"),
            ):
                Customer.objects.create(name="Ada")
            with pytest.raises(ValueError, match="'replicas' is no alias"):
                self.assertReadsFrom("replicas").__enter__()

    return Plain, Mirrored


def outcome(case: type[TestCase]) -> tuple[int, int, int]:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result.testsRun, len(result.failures), len(result.errors)


def test_a_test_case_sees_its_rows_through_the_replica(replica: None) -> None:
    wrapper: Any = connections[REPLICA]
    wrapper.creation.set_as_test_mirror(connections["default"].settings_dict)
    plain, mirrored = cases()
    assert outcome(plain) == (1, 1, 0)
    assert outcome(mirrored) == (3, 0, 0)
    assert connections[REPLICA] is wrapper


@pytest.fixture
def mirror(replica: None) -> Any:
    """As in a test runner: no server of the replica's own."""
    wrapper: Any = connections[REPLICA]
    wrapper.creation.set_as_test_mirror(connections["default"].settings_dict)
    return wrapper


def read() -> int:
    with unit_of_work():
        return Customer.objects.using(REPLICA).count()


def test_a_replica_that_looks_down_leads_where_the_settings_say(mirror: Any) -> None:
    assert read() == 0
    with simulate_down():
        assert read() == 0  # From the primary.
        with override_settings(CONNMGR={"ON_NO_REPLICA": "error"}):
            with pytest.raises(NoReplica, match=r"127.0.0.1:1 \(down\)"):
                read()
            with unit_of_work(), using_replica(strict=True), pytest.raises(NoReplica):
                Customer.objects.count()
    with override_settings(CONNMGR={"ON_NO_REPLICA": "error"}):
        assert read() == 0


def test_a_replica_that_looks_slow_is_left_alone_above_the_limit(mirror: Any) -> None:
    name = "127.0.0.1:1"
    with override_settings(CONNMGR={"ON_ALL_LAGGING": "error", "MAX_LAG_SECONDS": 5}):
        with simulate_lag(name, 4.0):
            assert read() == 0
            with unit_of_work(), using_replica(max_lag=3.0, strict=True), pytest.raises(NoReplica):
                Customer.objects.count()
            with simulate_lag(name, 6.0), pytest.raises(NoReplica, match="lagging"):
                read()
            assert replicas().status()[0].lag_seconds == 4.0
        assert replicas().status()[0].lag_seconds is None


def test_what_is_noted_of_a_server_does_not_end_a_simulation(mirror: Any) -> None:
    hosts = mirror.reader.role.hosts
    (host,) = hosts.all
    report, bounds = Report(is_standby=True, position=None), Bounds(10.0, 100.0)
    with simulate_down(host.name):
        for _ in range(5):
            assert hosts.note_report(host, report, None, bounds, 1.0) is None
        assert hosts.note_success(host) is None
        assert host.state.value == "down"
    with simulate_lag(host.name, 1.0):
        assert hosts.note_failure(host) is None
        assert hosts.note_no_answer(host, is_silent=False) is None
        assert hosts.note_promotion(host) is None
    assert host.state.value == "up"


def test_an_unknown_name_is_refused_with_those_that_there_are(mirror: Any) -> None:
    with (
        pytest.raises(KeyError, match=r"no replica 'r1'; there are: 127\.0\.0\.1:1"),
        simulate_down("r1"),
    ):
        pass


def test_the_plugin_of_pytest_brings_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_fixtures.py").write_text(
        """
def test_all(simulate_down, simulate_lag, assert_reads_from):
    with simulate_down():
        pass
    try:
        with assert_reads_from("replica"):
            pass
    except AssertionError as error:
        assert "nothing was read" in str(error)
    assert simulate_lag
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    if not any(one.value == PLUGIN for one in entry_points(group="pytest11")):
        command[3:3] = ["-p", PLUGIN]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--ds", "tests.settings"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_needs_no_settings() -> None:
    script = f"import {PLUGIN}"
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, env=environment, timeout=60
    )
