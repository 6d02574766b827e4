"""What monitoring systems are told: names, numbers, and what a broken pool does to them."""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import db_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.scope import Scope
from django_connmgr.instrumentation import opentelemetry, prometheus
from django_connmgr.registry import Address, registry
from django_connmgr.testing import FakeDriver

from .helpers import Pool

ROOT = Path(__file__).resolve().parents[2]
CONVENTIONS = {
    value: name.removeprefix("DB_CLIENT_CONNECTION_").lower()
    for name, value in vars(db_metrics).items()
    if name.startswith("DB_CLIENT_CONNECTION_")
}


def make_pools(
    monkeypatch: pytest.MonkeyPatch, count: int, *, is_observed: bool = True
) -> list[Pool]:
    limits = Limits(max_size=4, min_size=0, reap_interval=0)
    made: list[Pool] = [
        ConnectionPool(f"pool{number}", FakeDriver(), limits, is_observed=is_observed)
        for number in range(count)
    ]
    known = {Address(pool.name, None, None): pool for pool in made}
    monkeypatch.setattr(registry, "_pools", known)
    return made


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    (made,) = make_pools(monkeypatch, 1)
    return made


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(*, whole_host: bool = False) -> Samples:
    """Every sample, as Prometheus reads it."""
    collectors = CollectorRegistry()
    prometheus.register(collectors, whole_host=whole_host)
    text = generate_latest(collectors).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    labels = {"pool": "pool0", "alias": "pool0", **labels}
    return samples[f"django_connmgr_{name}", tuple(sorted(labels.items()))]


def test_prometheus_is_told_the_numbers(pool: Pool) -> None:
    leases = [pool.acquire(scope=Scope("GET /")), pool.acquire()]
    leases.pop().release()
    samples = scrape()
    assert value(samples, "connections", state="leased") == 1
    assert value(samples, "connections", state="cold") == 1
    assert value(samples, "connections_max") == 4
    assert value(samples, "checkouts_total") == 2
    assert value(samples, "use_duration_seconds_count") == 1
    assert value(samples, "wait_duration_seconds_bucket", le="+Inf") == 2
    assert value(samples, "unit_uses_total", unit="") == 1
    leases.pop().discard()
    assert value(scrape(), "closed_total", reason="discarded") == 1


def test_a_scrape_opens_no_connection(pool: Pool) -> None:
    scrape()
    assert pool.stats().opened == 0


def test_a_broken_pool_breaks_no_scrape(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, _ = make_pools(monkeypatch, 2)
    monkeypatch.setattr(broken, "stats", lambda: 1 / 0)
    names = {dict(labels).get("pool") for _, labels in scrape()}
    assert names == {"pool1"}
    assert "Pool 'pool0' does not tell its numbers." in caplog.text


def fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times)


def test_reading_a_hundred_pools_costs_less_than_writing_down_what_they_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four milliseconds, where writing takes ten: a ratio, because machines differ."""
    for pool in make_pools(monkeypatch, 100, is_observed=False):
        pool.acquire().release()
    collector = prometheus.PoolCollector()
    metrics = list(collector.collect())
    written = CollectorRegistry()
    written.register(Told(metrics))
    gc.collect()
    reading, writing = (
        fastest(lambda: list(collector.collect())),
        fastest(lambda: generate_latest(written)),
    )
    assert reading < 0.7 * writing


class Told:
    """A collector that has nothing to read."""

    def __init__(self, metrics: list[Any]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Any]:
        return self._metrics


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    made = InMemoryMetricReader()
    provider = MeterProvider([made])
    opentelemetry.instrument(provider)
    yield made
    opentelemetry.uninstrument()
    provider.shutdown()


def read(reader: InMemoryMetricReader) -> dict[str, Any]:
    """The data points of each metric."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_opentelemetry_is_told_all_nine_by_their_names_and_units(
    pool: Pool, reader: InMemoryMetricReader
) -> None:
    pool.acquire().release()
    read(reader)
    told = read(reader)
    assert set(told) == set(CONVENTIONS)
    assert len(told) == 9
    for name, metric in told.items():
        made = getattr(db_metrics, f"create_db_client_connection_{CONVENTIONS[name]}")(Recorder())
        assert (metric.unit, type(metric.data).__name__) == made
    for metric in told.values():
        for point in metric.data.data_points:
            assert point.attributes[db_attributes.DB_CLIENT_CONNECTION_POOL_NAME] == "pool0"


class Recorder:
    """A meter that tells the unit, and which kind of data there will be."""

    def create_up_down_counter(self, name: str, unit: str, description: str) -> tuple[str, str]:
        return unit, "Sum"

    create_counter = create_up_down_counter

    def create_histogram(self, name: str, unit: str, description: str) -> tuple[str, str]:
        return unit, "Histogram"


def test_connections_are_idle_or_used(pool: Pool, reader: InMemoryMetricReader) -> None:
    lease = pool.acquire()
    pool.acquire().release()
    points = read(reader)["db.client.connection.count"].data.data_points
    state = db_attributes.DB_CLIENT_CONNECTION_STATE
    assert {point.attributes[state]: point.value for point in points} == {"idle": 1, "used": 1}
    lease.release()


def test_histograms_have_exact_counts_and_sums(
    pool: Pool, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opentelemetry.Instruments, "MOST_RECORDED", 2)
    for _ in range(7):
        pool.acquire().release()
    for _ in range(5):
        told = read(reader)
    (point,) = told["db.client.connection.use_time"].data.data_points
    timings = pool.timings()
    assert timings is not None
    assert point.count == 7
    assert point.sum == pytest.approx(sum(timings.use.sums))
    assert tuple(point.bucket_counts) == timings.use.counts


def test_after_uninstrumenting_nothing_is_observed(pool: Pool) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    opentelemetry.instrument(provider)
    opentelemetry.instrument(provider)  # Once is enough.
    assert read(reader)
    opentelemetry.uninstrument()
    opentelemetry.uninstrument()
    assert not read(reader).get("db.client.connection.max")
    provider.shutdown()


def test_the_dashboard_asks_for_metrics_that_exist(pool: Pool) -> None:
    lease = pool.acquire(scope=Scope("GET /"))
    lease.discard()
    names = {name for name, _ in scrape()}
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"django_connmgr_\w+", target["expr"])
    }
    assert asked <= names
    assert len(dashboard["panels"]) >= 6
