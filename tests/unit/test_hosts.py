from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from django_connmgr._pool.host import Bounds, Change, Host, HostState, Report
from django_connmgr._pool.hosts import LONGEST_REST, Hosts
from django_connmgr._pool.lag import Lag
from django_connmgr._pool.position import Position
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
    for rest in (1, 2, 4, 8, 16, *[LONGEST_REST] * 2000):
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


# What probes tell

BOUNDS = Bounds(seconds=10.0, bytes=1000)
FINE, LAGGING, HALF = Lag(0.0, 0), Lag(11.0, 0), Lag(5.0, 0)


def report(hosts: Hosts, host: Host, lag: Lag = FINE, *, is_standby: bool = True) -> Change | None:
    return hosts.note_report(host, Report(is_standby, Position(1, 5)), lag, BOUNDS, hosts._now())


@pytest.fixture
def probed(hosts: Hosts) -> Hosts:
    hosts.note_probing(1000)
    return hosts


def names(hosts: Hosts, units: int = 8) -> set[str]:
    return set(shares(hosts, "round_robin", units))


def test_one_that_is_down_is_tried_by_probes_alone(
    probed: Hosts, first: Host, clock: ManualClock
) -> None:
    probed.note_failure(first)
    clock.advance(100)
    assert names(probed) == {"second"}
    assert probed.note_success(first) is None  # By a connection from before.
    assert names(probed) == {"second"}


def test_it_comes_back_after_three_good_probes(probed: Hosts, first: Host) -> None:
    probed.note_failure(first)
    changes = [report(probed, first) for _ in range(4)]
    assert changes == [
        Change(first, HostState.DOWN, HostState.PROBATION),
        None,
        Change(first, HostState.PROBATION, HostState.UP),
        None,
    ]


def test_a_failure_in_its_probation_puts_it_down_again(probed: Hosts, first: Host) -> None:
    probed.note_failure(first)
    report(probed, first)
    report(probed, first)
    probed.note_no_answer(first, is_silent=False)
    assert first.state is HostState.DOWN
    assert [report(probed, first) is None for _ in range(3)] == [False, True, False]


def test_its_share_grows_when_it_is_back(probed: Hosts, first: Host, clock: ManualClock) -> None:
    probed.note_failure(first)
    for _ in range(3):
        report(probed, first)
    assert shares(probed, "round_robin")["first"] == pytest.approx(200 * 0.3 / 1.3, abs=3)
    clock.advance(5)
    assert shares(probed, "round_robin")["first"] == pytest.approx(200 * 1.5 / 2.5, abs=3)
    clock.advance(5)
    assert shares(probed, "round_robin")["first"] == pytest.approx(150, abs=3)


def test_one_that_left_a_probe_unanswered_is_read_from_if_there_is_no_other(
    probed: Hosts, first: Host, second: Host
) -> None:
    probed.note_no_answer(first, is_silent=True)
    assert first.state is HostState.SUSPECT
    assert names(probed) == {"second"}
    probed.note_failure(second)
    assert names(probed) == {"first"}
    assert report(probed, first) == Change(first, HostState.SUSPECT, HostState.UP)


def test_one_that_lags_comes_back_after_two_probes_at_half_of_the_limit(
    probed: Hosts, first: Host
) -> None:
    report(probed, first, LAGGING)
    assert (names(probed), first.why_excluded) == ({"second"}, "lagging")
    for lag in (Lag(6.0, 0), HALF, Lag(6.0, 0), HALF):
        report(probed, first, lag)
        assert names(probed) == {"second"}
    report(probed, first, HALF)
    assert names(probed) == {"first", "second"}


def test_bytes_exclude_as_seconds_do(probed: Hosts, first: Host) -> None:
    report(probed, first, Lag(0.0, 1001))
    assert first.why_excluded == "lagging"


def test_if_all_lag_the_one_that_lags_least_may_be_chosen(
    probed: Hosts, first: Host, second: Host
) -> None:
    report(probed, first, Lag(20.0, 0))
    report(probed, second, LAGGING)
    assert probed.choose() is None
    assert probed.choose(may_lag=True) is second
    assert probed.choose(may_lag=True, other_than=[second]) is first


def test_one_that_is_known_to_be_far_enough_is_preferred(
    probed: Hosts, first: Host, second: Host
) -> None:
    required = Position(1, 100)
    assert probed.choose(required=required) is not None
    probed.note_position(second, Position(1, 100), 1.0)
    assert {probed.choose(required=required) for _ in range(8)} == {second}
    assert probed.furthest([first, second]) is second


def test_a_bound_of_one_read_excludes_what_is_not_known_to_keep_it(
    probed: Hosts, first: Host, second: Host
) -> None:
    report(probed, second, HALF)
    assert {probed.choose(max_lag=5.0) for _ in range(8)} == {second}
    assert probed.choose(max_lag=4.0) is None


def test_one_that_takes_writes_is_left_until_it_is_a_standby_again(
    probed: Hosts, first: Host
) -> None:
    change = report(probed, first, is_standby=False)
    assert change == Change(first, HostState.UP, HostState.PROMOTED)
    assert report(probed, first, is_standby=False) is None
    assert probed.note_failure(first) is None
    assert names(probed) == {"second"}
    assert report(probed, first) == Change(first, HostState.PROMOTED, HostState.PROBATION)


def test_one_that_drains_stays_so_whatever_probes_tell(probed: Hosts, first: Host) -> None:
    probed.drain("first")
    report(probed, first, is_standby=False)
    probed.note_no_answer(first, is_silent=False)
    report(probed, first)
    assert first.state is HostState.DRAINING


def test_in_a_forked_child_nothing_is_probed_until_it_is_watched(probed: Hosts) -> None:
    probed.after_fork()
    assert not probed.is_probed


def test_what_one_server_behind_an_address_said_is_not_true_of_another() -> None:
    replayed = Position(1, 100)
    assert Host("one", replayed=replayed).has_replayed(replayed)
    endpoint = Host("several", is_endpoint=True, replayed=replayed)
    assert not endpoint.has_replayed(replayed)
    assert endpoint.has_replayed(None)


def test_what_was_found_out_before_a_connection_was_opened_is_not_known_of_it(
    probed: Hosts, first: Host
) -> None:
    position = Position(1, 100)
    probed.note_position(first, position, 5.0)
    assert first.has_replayed(position, since=5.0)
    assert not first.has_replayed(position, since=5.1)


def test_an_answer_that_was_overtaken_by_a_later_one_does_not_count(
    probed: Hosts, first: Host
) -> None:
    probed.note_position(first, Position(1, 100), 5.0)
    probed.note_position(first, Position(1, 90), 4.0)
    assert first.replayed == Position(1, 100)
    probed.note_position(first, Position(1, 80), 6.0)
    assert first.replayed == Position(1, 80)
