"""Greenlets as owners, in a process that gevent has patched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from testproject.cluster import Cluster

from .conftest import ROOT, require

require("gevent")


def pool(size: int) -> str:
    return (
        f"<ConnectionPool 'default' open: size={size}/2 "
        f"connecting=0 idle={size} leased=0 maintenance=0 waiting=0>"
    )


@pytest.fixture(scope="module")
def scenes(cluster: Cluster) -> dict[str, Any]:
    """What became of the greenlets, by the names of the functions in ``greenlets``."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.greenlets"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "DATABASE_URL": cluster.url,
            "DATABASE_POOL": "max_size=2",
            "PYTHONDEVMODE": "",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


def test_greenlets_queue_behind_an_exhausted_pool(scenes: dict[str, Any]) -> None:
    """Six of them are served by two connections, and wait without stopping each other."""
    assert scenes["queues_behind_an_exhausted_pool"] == [2, pool(2)]


def test_the_lease_of_a_greenlet_that_ends_is_taken_back(scenes: dict[str, Any]) -> None:
    assert scenes["ends_without_a_release"] == pool(2)


def test_a_greenlet_killed_in_a_query_costs_its_connection(scenes: dict[str, Any]) -> None:
    assert scenes["is_killed_in_a_query"] == [True, pool(1)]


def test_a_greenlet_killed_in_a_transaction_gives_back_a_clean_connection(
    scenes: dict[str, Any],
) -> None:
    assert scenes["is_killed_in_a_transaction"] == [True, True, pool(1)]


def test_a_greenlet_killed_in_the_queue_leaves_it(scenes: dict[str, Any]) -> None:
    assert scenes["is_killed_in_the_queue"] == [0, pool(2)]


def test_a_timeout_names_each_greenlet_that_holds_a_connection(scenes: dict[str, Any]) -> None:
    assert scenes["names_the_greenlets_that_hold"] == [2, pool(2)]


def test_a_connection_that_the_server_closed_is_not_handed_out(scenes: dict[str, Any]) -> None:
    assert scenes["is_hung_up_on"] == [True, pool(1)]
