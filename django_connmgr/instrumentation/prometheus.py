"""For Prometheus: a collector that reads the pools' numbers when it is scraped."""

from collections.abc import Iterator
from itertools import accumulate, repeat
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Sample

from .._pool.timings import BOUNDS
from ..inspection.client import ask
from ..inspection.numbers import all_numbers

PREFIX = "django_connmgr_"
#: States of a connection; each is a field of the pool's numbers.
STATES = ("connecting", "warm", "cold", "leased", "maintenance")
#: By name: which field, and what it tells.
GAUGES = {
    "connections_max": ("max_size", "The most connections of the pool; none without a limit."),
    "connections_min": ("min_size", "As many connections are kept open."),
    "waiters": ("waiting", "Callers that wait for a connection."),
    "oldest_wait_seconds": ("oldest_wait", "How long the first waiter has waited."),
    "dedicated_connections": ("dedicated", "Connections outside the pool and its limit."),
}
COUNTERS = {
    "checkouts": ("checkouts", "Connections handed out."),
    "waits": ("waits", "Checkouts that had to queue."),
    "wait_seconds": ("wait_seconds", "Seconds that checkouts spent in the queue."),
    "timeouts": ("timeouts", "Checkouts that ended in PoolTimeout."),
    "rejected": ("rejected", "Checkouts that ended in TooManyRequests."),
    "reaped": ("reaped", "Leases taken back from owners that ended or forgot them."),
    "reclaimed": ("reclaimed", "Warm connections that another owner took."),
    "opened": ("opened", "Connections opened."),
    "connect_failures": ("connect_failures", "Attempts to connect that failed."),
    "connect_seconds": ("connect_seconds", "Seconds spent on connecting, also in vain."),
    "checks": ("checks", "Round trips made only to see whether a connection works."),
    "session_holds": ("session_holds", "Leases that were held for their session's state."),
    "hold_seconds": ("hold_seconds", "Seconds for which connections were held."),
}
HISTOGRAMS = {
    "wait_duration_seconds": ("wait", "How long checkouts took to be served."),
    "connect_duration_seconds": ("connect", "How long connecting took."),
    "use_duration_seconds": ("use", "How long connections were used at a time."),
}
_BUCKETS = [*map(str, BOUNDS), "+Inf"]


Found = list[tuple[dict[str, str], dict[str, Any]]]


class PoolCollector:
    """Collects this process's pools, or with ``whole_host`` those of each process of the project.

    It opens no connection and makes no pool. Labels are the pool's name and alias; of a whole
    host also the number of the process and what it runs.
    """

    def __init__(self, *, whole_host: bool = False) -> None:
        self._whole_host = whole_host

    def describe(self) -> list[Metric]:
        """Nothing, so that to register it scrapes nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        # Samples are made here, and not by the families' methods: those make a dict of labels for
        # each, which would be most of the work.
        found = self._find()
        yield _states(found)
        for name, (field, about) in GAUGES.items():
            yield _metric(name, about, "gauge", found, field)
        for name, (field, about) in COUNTERS.items():
            yield _metric(name, about, "counter", found, field)
        yield _closed(found)
        measured = [one for one in found if one[1].get("timings")]
        if measured:
            by_bucket = [[{**labels, "le": le} for le in _BUCKETS] for labels, _ in measured]
            for name, (kind, about) in HISTOGRAMS.items():
                yield _histogram(name, about, measured, kind, by_bucket)
            yield _by_unit("unit_uses", "Uses of connections, by unit of work.", measured, 0)
            about = "Seconds for which connections were used, by unit of work."
            yield _by_unit("unit_use_seconds", about, measured, 1)

    def _find(self) -> Found:
        if not self._whole_host:
            return [(_labels(one), one) for one in all_numbers()]
        return [
            (_labels(one, pid=str(reply.pid), process=reply.role), one)
            for reply in ask("metrics")
            if not reply.error
            for one in reply.records("pools")
        ]


def _labels(numbers: dict[str, Any], **more: str) -> dict[str, str]:
    return {"pool": numbers["name"], "alias": numbers["alias"], **more}


def _metric(name: str, about: str, kind: str, found: Found, field: str) -> Metric:
    metric = Metric(PREFIX + name, about, kind)
    sample = f"{PREFIX}{name}_total" if kind == "counter" else PREFIX + name
    metric.samples = [
        Sample(sample, labels, number)
        for labels, numbers in found
        if (number := numbers.get(field)) is not None
    ]
    return metric


def _states(found: Found) -> Metric:
    name = f"{PREFIX}connections"
    metric = Metric(name, "Connections by state; warm and cold are idle.", "gauge")
    metric.samples = [
        Sample(name, {**labels, "state": state}, numbers[state])
        for labels, numbers in found
        for state in STATES
    ]
    return metric


def _closed(found: Found) -> Metric:
    metric = Metric(f"{PREFIX}closed", "Connections closed, by reason.", "counter")
    metric.samples = [
        Sample(f"{PREFIX}closed_total", {**labels, "reason": reason}, count)
        for labels, numbers in found
        for reason, count in numbers["closed"].items()
    ]
    return metric


def _histogram(
    name: str, about: str, found: Found, kind: str, by_bucket: list[list[dict[str, str]]]
) -> Metric:
    metric = Metric(PREFIX + name, about, "histogram")
    bucket, samples = f"{PREFIX}{name}_bucket", metric.samples
    for (labels, numbers), buckets in zip(found, by_bucket, strict=True):
        distribution = numbers["timings"][kind]
        totals = list(accumulate(distribution["counts"]))
        samples += map(Sample, repeat(bucket), buckets, totals)
        samples.append(Sample(f"{PREFIX}{name}_count", labels, totals[-1]))
        samples.append(Sample(f"{PREFIX}{name}_sum", labels, sum(distribution["sums"])))
    return metric


def _by_unit(name: str, about: str, found: Found, index: int) -> Metric:
    metric = Metric(PREFIX + name, about, "counter")
    metric.samples = [
        Sample(f"{PREFIX}{name}_total", {**labels, "unit": unit}, pair[index])
        for labels, numbers in found
        for unit, pair in numbers["timings"]["units"].items()
    ]
    return metric


def register(registry: CollectorRegistry = REGISTRY, *, whole_host: bool = False) -> PoolCollector:
    """Have every scrape of ``registry`` tell the pools' numbers; returns the collector.

    Histograms and what stands by unit of work need ``CONNMGR["METRICS"] = True``.
    """
    collector = PoolCollector(whole_host=whole_host)
    registry.register(collector)
    return collector
