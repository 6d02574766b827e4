"""What is measured, against what the server sees; and what measuring costs a request."""

from __future__ import annotations

import sys
import threading

import pytest
from django.core.signals import request_finished, request_started
from django.db import connections
from django.test import override_settings

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry

from django_connmgr import pools
from django_connmgr.instrumentation import prometheus
from django_connmgr.units.requests import connect_receivers

from .conftest import PoolOf
from .server import Server
from .test_counted import OURS, bytecodes_of, counts_bytecodes, ten_requests
from .threads import ask, in_threads


def gauges(alias: str) -> dict[str, float]:
    collectors = CollectorRegistry()
    prometheus.register(collectors)
    return {
        sample.labels["state"]: sample.value
        for metric in collectors.collect()
        if metric.name == "django_connmgr_connections"
        for sample in metric.samples
        if sample.labels["alias"] == alias
    }


def test_idle_and_used_are_what_the_server_has(pool_of: PoolOf, server: Server) -> None:
    pool_of(max_size=4)
    held, may_end = threading.Barrier(3), threading.Event()

    def hold() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
            held.wait(30)
            assert may_end.wait(30)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    held.wait(30)
    ask()
    connections["default"].close()
    told = gauges("default")
    assert (told["warm"] + told["cold"], told["leased"]) == (1, 2)
    assert sum(told.values()) == server.count()
    may_end.set()
    for thread in threads:
        thread.join(30)


def test_requests_are_measured_by_their_names(pool_of: PoolOf) -> None:
    with override_settings(CONNMGR={"METRICS": True}):
        pool_of(max_size=4)
        connect_receivers()
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/orders/"}
        request_started.send(sender=None, environ=environ)
        ask()
        ask()
        request_finished.send(sender=None)
        in_threads(4, ask)
        timings = pools["default"].timings()
        assert timings is not None
        assert timings.units["GET /orders/"][0] == 2
        assert sum(timings.connect.counts) == pools["default"].stats().opened
        connections["default"].close_pool()  # type: ignore[attr-defined]
    assert pools["default"].timings() is None


@counts_bytecodes
def test_measuring_costs_a_request_less_than_a_hundred_bytecodes(pool_of: PoolOf) -> None:
    for signal in (request_started, request_finished):
        signal.disconnect(dispatch_uid=OURS)
    connect_receivers()
    pool_of(max_size=2, reap_interval=0)
    without = bytecodes_of(ten_requests("default"))
    with override_settings(CONNMGR={"METRICS": True}):
        pool_of(max_size=2, reap_interval=0)
        assert pools["default"].timings() is not None
        measured = bytecodes_of(ten_requests("default"))
        pools["default"].timings()
        many = bytecodes_of(lambda: [ten_requests("default") for _ in range(20)])
        connections["default"].close_pool()  # type: ignore[attr-defined]
    assert 0 < (measured - without) / 10 <= 100
    # Four hundred requests, with what is counted now and then.
    assert (many - 40 * without) / 400 <= 110, sys.version
