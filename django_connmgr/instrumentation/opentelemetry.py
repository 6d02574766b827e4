"""For OpenTelemetry: the metrics of database connection pools, as its conventions name them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from .. import __version__
from .._pool.timings import BOUNDS
from ..inspection.numbers import all_numbers

POOL_NAME = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

Numbers = dict[str, Any]

#: By name: unit, what it tells, and what it is of one pool's numbers.
_LEVELS: dict[str, tuple[str, str, Callable[[Numbers], int | None]]] = {
    "db.client.connection.max": (
        "{connection}", "The maximum number of open connections allowed.",
        lambda numbers: numbers["max_size"],
    ),
    "db.client.connection.idle.max": (
        "{connection}", "The maximum number of idle open connections allowed.",
        lambda numbers: numbers["max_size"],
    ),
    "db.client.connection.idle.min": (
        "{connection}", "The minimum number of idle open connections allowed.",
        lambda numbers: numbers["min_size"],
    ),
    "db.client.connection.pending_requests": (
        "{request}", "The number of current pending requests for an open connection.",
        lambda numbers: numbers["waiting"],
    ),
}  # fmt: skip
_DURATIONS = {
    "wait": ("db.client.connection.wait_time", "The time it took to obtain an open connection."),
    "connect": ("db.client.connection.create_time", "The time it took to create a connection."),
    "use": ("db.client.connection.use_time", "The time that a connection was borrowed."),
}  # fmt: skip


class Instruments:
    """The instruments of one meter, which ask the pools when they are collected.

    Nothing is recorded when a connection is leased or released. The histograms have no
    asynchronous kind: what came since the last collection is recorded at the next one, bucket by
    bucket, each as often as it was counted and with its mean. So counts and sums are exact, and
    each value is in its bucket. At most ``MOST_RECORDED`` of one bucket are recorded one by one
    in a collection, and the rest with the next ones.
    """

    MOST_RECORDED = 1000

    def __init__(self, meter: Meter) -> None:
        self._is_on = True
        #: By pool, kind and bucket: how many were recorded, and their sum.
        self._recorded: dict[tuple[str, str, int], tuple[int, float]] = {}
        self._histograms = {
            kind: meter.create_histogram(
                name, "s", about, explicit_bucket_boundaries_advisory=list(BOUNDS)
            )
            for kind, (name, about) in _DURATIONS.items()
        }
        meter.create_observable_up_down_counter(
            "db.client.connection.count", [self._observe_counts], "{connection}",
            "The number of connections that are currently in state described by the `state` "
            "attribute.",
        )  # fmt: skip
        for name, (unit, about, level) in _LEVELS.items():
            observe = self._observer(level)
            meter.create_observable_up_down_counter(name, [observe], unit, about)
        meter.create_observable_counter(
            "db.client.connection.timeouts",
            [self._observer(lambda numbers: numbers["timeouts"])],
            "{timeout}",
            "The number of connection timeouts that have occurred trying to obtain a connection "
            "from the pool.",
        )

    def stop(self) -> None:
        """Observe nothing any more: a meter cannot forget its instruments."""
        self._is_on = False

    def _numbers(self) -> list[Numbers]:
        return all_numbers() if self._is_on else []

    def _observe_counts(self, options: CallbackOptions) -> Iterator[Observation]:  # noqa: ARG002
        for numbers in self._numbers():
            self._record(numbers)
            name, idle = numbers["name"], numbers["idle"]
            yield Observation(idle, {POOL_NAME: name, STATE: "idle"})
            # Those that are being opened count for the bound, and often for the server.
            yield Observation(numbers["size"] - idle, {POOL_NAME: name, STATE: "used"})

    def _observer(
        self, level: Callable[[Numbers], int | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:  # noqa: ARG001
            for numbers in self._numbers():
                value = level(numbers)
                if value is not None:
                    yield Observation(value, {POOL_NAME: numbers["name"]})

        return observe

    def _record(self, numbers: Numbers) -> None:
        timings, name = numbers.get("timings"), numbers["name"]
        if timings is None:
            return
        for kind, histogram in self._histograms.items():
            pairs = zip(timings[kind]["counts"], timings[kind]["sums"], strict=True)
            for bucket, (count, total) in enumerate(pairs):
                known, known_total = self._recorded.get((name, kind, bucket), (0, 0.0))
                if count < known:
                    known, known_total = 0, 0.0  # The pool was made anew.
                new = min(count - known, self.MOST_RECORDED)
                if not new:
                    continue
                mean = (total - known_total) / (count - known)
                for _ in range(new):
                    histogram.record(max(mean, 0.0), {POOL_NAME: name})
                self._recorded[name, kind, bucket] = (known + new, known_total + new * mean)


_instruments: Instruments | None = None


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """Tell OpenTelemetry of every pool of this process. Idempotent.

    ``create_time``, ``wait_time`` and ``use_time`` need ``CONNMGR["METRICS"] = True``.
    """
    global _instruments  # noqa: PLW0603
    if _instruments is None:
        meter = get_meter("django_connmgr", __version__, meter_provider)
        _instruments = Instruments(meter)


def uninstrument() -> None:
    """Undo ``instrument()``."""
    global _instruments  # noqa: PLW0603
    if _instruments is not None:
        _instruments.stop()
        _instruments = None
