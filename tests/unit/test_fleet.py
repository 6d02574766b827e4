"""The fleet on paper agrees with what queueing theory knows, and the guide with the fleet."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.fleet import Fleet, Simulation, percentile, table

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "many-hosts.md"


def erlang_c_wait(servers: int, rate: float, held: float) -> float:
    """The mean wait of M/M/c, by Erlang's formula."""
    load = rate * held
    blocked = load**servers / math.factorial(servers) / (1 - load / servers)
    free = sum(load**count / math.factorial(count) for count in range(servers))
    return blocked / (free + blocked) * held / (servers - load)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.4), (5, 4.0)])
def test_waits_for_a_pool_are_those_of_erlang(servers: int, load: float) -> None:
    fleet = Fleet(
        processes=50, rate=load / 0.02, held=0.02, pool=servers, spike=0, seconds=40, timeout=60
    )
    waits = Simulation(fleet).run().pool_waits
    mean = sum(waits) / len(waits)
    assert mean == pytest.approx(erlang_c_wait(servers, fleet.rate, fleet.held), rel=0.1)


def test_waits_for_a_pooler_are_those_of_erlang_over_all_processes() -> None:
    fleet = Fleet(
        processes=100, rate=1.75, held=0.02, pool=50, pooler=5, spike=0, seconds=250, timeout=60
    )
    outcome = Simulation(fleet).run()
    mean = sum(outcome.pooler_waits) / len(outcome.pooler_waits)
    assert mean == pytest.approx(erlang_c_wait(5, 175.0, 0.02), rel=0.1)
    assert (outcome.used, max(outcome.pool_waits)) == (5, 0.0)


def test_what_fails_first() -> None:
    fleet = Fleet(processes=20, rate=50, held=0.02, pool=4, seconds=5, server=30)
    assert Simulation(fleet).run().fails(fleet).startswith("the server: ")
    fits = Fleet(processes=20, rate=5, held=0.01, pool=1, seconds=5, server=30)
    assert Simulation(fits).run().fails(fits) == "nothing"
    late = Fleet(processes=20, rate=100, held=0.02, pool=1, timeout=0.05, seconds=5, server=30)
    assert "time out" in Simulation(late).run().fails(late)


def test_a_percentile() -> None:
    assert percentile([], 0.5) == 0
    assert percentile(range(101), 0.99) == 99


def test_the_guide_has_what_it_prints() -> None:
    printed = "\n".join(table(Fleet()))
    assert printed in GUIDE.read_text()
