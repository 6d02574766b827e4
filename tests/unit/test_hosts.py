from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from django_connmgr._pool.host import Change, Host, HostState
from django_connmgr._pool.hosts import LONGEST_REST, Hosts
from django_connmgr.testing import ManualClock

from .helpers import Worker


class FakePool:
    """What a host asks of a pool."""

    def __init__(self, count_leases: Callable[[], int] = lambda: 0) -> None:
        self.count_leases = count_leases

    def recycle(self) -> None: ...


@pytest.fixture
def first() -> Host:
    return Host("first", 3)


@pytest.fixture
def second() -> Host:
    return Host("second", 1)


@pytest.fixture
def hosts(first: Host, second: Host, clock: ManualClock) -> Hosts:
    return Hosts([first, second], clock.now)


def shares(hosts: Hosts, balance: str, units: int = 200) -> dict[str, int]:
    chosen = Counter(host.name for _ in range(units) if (host := hosts.choose(balance)))
    return dict(chosen)


@pytest.mark.parametrize("balance", ["least_leases", "round_robin"])
def test_idle_hosts_are_chosen_by_their_weights(hosts: Hosts, balance: str) -> None:
    assert shares(hosts, balance) == {"first": 150, "second": 50}


def test_turns_are_spread_evenly(hosts: Hosts) -> None:
    names = [host.name for _ in range(8) if (host := hosts.choose("round_robin"))]
    assert names == ["first", "first", "second", "first"] * 2


def test_a_draw_goes_by_weight(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(7)
    monkeypatch.setattr(random, "choices", dice.choices)
    assert shares(hosts, "random")["first"] == pytest.approx(150, abs=20)


def test_the_one_with_fewer_leases_for_its_weight_is_chosen(
    hosts: Hosts, first: Host, second: Host
) -> None:
    first.pool, second.pool = FakePool(lambda: 6), FakePool(lambda: 1)
    assert shares(hosts, "least_leases") == {"second": 200}
    assert shares(hosts, "round_robin") == {"first": 150, "second": 50}


def test_one_that_failed_rests_longer_each_time(
    hosts: Hosts, first: Host, clock: ManualClock
) -> None:
    for rest in (1, 2, 4, 8, 16, LONGEST_REST, LONGEST_REST):
        hosts.note_failure(first)
        clock.advance(rest - 0.01)
        assert shares(hosts, "round_robin", 4) == {"second": 4}
        clock.advance(0.02)
        assert "first" in shares(hosts, "round_robin", 8)
        first.retry_at = 0.0


def test_one_unit_at_a_time_tries_one_that_is_down(
    hosts: Hosts, first: Host, clock: ManualClock
) -> None:
    hosts.note_failure(first)
    clock.advance(1)
    assert shares(hosts, "round_robin", 20)["first"] == 1
    assert hosts.note_success(first) == Change(first, HostState.DOWN, HostState.UP)
    assert shares(hosts, "round_robin")["first"] == pytest.approx(150, abs=2)
    assert (first.state, first.failures) == (HostState.UP, 0)


def test_the_first_failure_is_news_and_so_is_the_return(hosts: Hosts, first: Host) -> None:
    assert hosts.note_success(first) is None
    went = Change(first, HostState.UP, HostState.DOWN)
    assert [hosts.note_failure(first) for _ in range(3)] == [went, None, None]
    came = Change(first, HostState.DOWN, HostState.UP)
    assert [hosts.note_success(first) for _ in range(2)] == [came, None]


def test_without_a_usable_host_there_is_none(hosts: Hosts, first: Host, second: Host) -> None:
    hosts.note_failure(first)
    assert hosts.choose(other_than=[second]) is None


def test_one_that_drains_is_not_chosen_whatever_becomes_of_it(hosts: Hosts, first: Host) -> None:
    hosts.drain("first")
    assert hosts.note_failure(first) is None
    hosts.note_success(first)
    assert shares(hosts, "least_leases") == {"second": 200}
    hosts.enable("first")
    assert shares(hosts, "round_robin")["first"] == pytest.approx(150, abs=2)


def test_an_unknown_name_is_refused_with_the_known_ones(hosts: Hosts) -> None:
    with pytest.raises(KeyError, match="no host 'third'; there are: first, second"):
        hosts.drain("third")


def test_a_finaliser_that_chooses_while_its_thread_chooses_does_not_hang(
    hosts: Hosts, first: Host
) -> None:
    """The collector may run one at any moment, also under the lock."""

    def count_leases() -> int:
        first.pool = None
        return 0 if hosts.choose("round_robin") else 1

    first.pool = FakePool(count_leases)
    assert Worker(hosts.choose).result() is not None
