"""For tests of code on top of the pool: a driver without a server, a clock, and replicas."""

from .fakes import FakeConnection, FakeDriver, ManualClock, ServerFull
from .replicas import (
    ReplicaMirrorMixin,
    assert_reads_from,
    mirrored,
    simulate_down,
    simulate_lag,
)

__all__ = [
    "FakeConnection",
    "FakeDriver",
    "ManualClock",
    "ReplicaMirrorMixin",
    "ServerFull",
    "assert_reads_from",
    "mirrored",
    "simulate_down",
    "simulate_lag",
]
