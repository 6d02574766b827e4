"""What the monitor makes of answers, and of their absence, without a server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from django_connmgr._pool.host import Host, HostState, Report
from django_connmgr._pool.hosts import Hosts
from django_connmgr._pool.position import Position
from django_connmgr.backends import monitor as module
from django_connmgr.backends.monitor import LONGEST_ANSWER, Monitor
from django_connmgr.backends.probe import POLLIN, ProbeRefused, ServerFull
from django_connmgr.signals import primary_changed
from django_connmgr.testing import ManualClock


class FakeProbe:
    """Answers when it is told to, or at once if it has something to say."""

    events = POLLIN

    def __init__(self, says: Report | Exception | None = None) -> None:
        self.says = says
        self.asked = self.closed = 0
        self._ours, self._theirs = socket.socketpair()

    def begin(self) -> None:
        self.asked += 1
        if isinstance(self.says, ConnectionError):
            raise self.says
        if self.says is not None:
            self._theirs.send(b"!")

    def advance(self) -> Report | None:
        self._ours.recv(1)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def fileno(self) -> int:
        return self._ours.fileno()

    def close(self) -> None:
        self.closed += 1

    def dispose(self) -> None:
        self._ours.close()
        self._theirs.close()


class FakeRole:
    alias = "copies"
    is_current = True
    can_probe = True

    def __init__(self, clock: ManualClock) -> None:
        self.first, self.second = Host("first"), Host("second")
        self.hosts = Hosts([self.first, self.second], clock.now)
        self.probes: dict[Host | None, list[FakeProbe]] = {
            self.first: [FakeProbe(standby(5))],
            self.second: [FakeProbe(standby(5))],
            None: [FakeProbe(primary(5))],
        }
        self.told: list[tuple[str, str]] = []
        #: Why probes failed, each of which may have been refused for its password.
        self.failures: list[str] = []
        self.made = 0

    def addresses_of(self, host: Host | None) -> list[Any]:
        return [{"HOST": number} for number in range(len(self.probes[host]))]

    def make_probe(self, host: Host | None, settings: dict[str, Any]) -> Any:
        self.made += 1
        return self.probes[host][settings["HOST"]]

    def note_refused_probe(self, host: Any, error: BaseException) -> None:
        self.failures.append(str(error))

    def tell(self, change: Any, reason: str) -> None:
        if change is not None:
            self.told.append((change.host.name, change.after.value))


def standby(lsn: int, timeline: int = 1) -> Report:
    return Report(is_standby=True, position=Position(timeline, lsn))


def primary(lsn: int, timeline: int = 1) -> Report:
    return Report(is_standby=False, position=Position(timeline, lsn))


@pytest.fixture
def role(clock: ManualClock) -> Iterator[FakeRole]:
    role = FakeRole(clock)
    yield role
    for probes in role.probes.values():
        for probe in probes:
            probe.dispose()


@pytest.fixture
def monitor(role: FakeRole, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Monitor:
    """Of the role; its background thread is the test's."""
    monkeypatch.setattr(module.time, "monotonic", clock.now)
    monitor = Monitor("default")
    monitor._roles[role.alias] = role
    return monitor


@pytest.fixture
def recycled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pools whose connections were replaced."""
    names: list[str] = []

    class Pool:
        def __init__(self, name: str) -> None:
            self.name = name

        def recycle(self) -> None:
            names.append(self.name)

    pools = [Pool(name) for name in ("default", "copies@default", "copies@first", "other")]
    monkeypatch.setattr(module.registry, "all", lambda: pools)
    return names


def look(monitor: Monitor, clock: ManualClock) -> None:
    """One pass, an interval later."""
    monitor.maintain()
    clock.advance(1)


def test_all_servers_are_asked_once_in_each_interval(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    role.probes[role.second][0].says = standby(3)
    for _ in range(3):
        monitor.maintain()
        monitor.maintain()  # Too early.
        clock.advance(1)
    assert {probes[0].asked for probes in role.probes.values()} == {3}
    assert monitor.latest == Position(1, 5)
    assert role.second.replayed == Position(1, 3)
    assert role.second.lag is not None
    assert role.second.lag.bytes == 2


def test_one_that_does_not_answer_holds_up_no_other(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    role.probes[role.first][0].says = None
    look(monitor, clock)
    assert role.second.replayed == Position(1, 5)
    clock.advance(LONGEST_ANSWER)
    look(monitor, clock)
    assert role.first.state is HostState.SUSPECT
    clock.advance(LONGEST_ANSWER)
    look(monitor, clock)
    clock.advance(LONGEST_ANSWER)
    look(monitor, clock)
    assert role.told == [("first", "suspect"), ("first", "down")]


def test_a_connection_that_ends_is_opened_anew_before_its_server_is_called_down(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    (probe,) = role.probes[role.first]
    look(monitor, clock)
    probe.says = OSError("server closed the connection unexpectedly")
    monitor.maintain()
    assert probe.asked == 3
    assert role.told == [("first", "down")]
    assert set(role.failures) == {"server closed the connection unexpectedly"}
    probe.says = standby(5)
    for _ in range(5):
        look(monitor, clock)
    assert role.told == [("first", "down"), ("first", "probation"), ("first", "up")]


def test_one_that_refuses_the_question_is_up_and_tells_nothing(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    role.probes[role.first][0].says = ProbeRefused("permission denied for function")
    look(monitor, clock)
    assert (role.first.state, role.first.replayed, role.told) == (HostState.UP, None, [])


def test_the_primary_is_looked_for_at_all_its_addresses(
    monitor: Monitor, role: FakeRole, clock: ManualClock, recycled: list[str]
) -> None:
    gone, demoted, new = (FakeProbe() for _ in range(3))
    gone.says, demoted.says, new.says = ConnectionRefusedError("no"), standby(9), primary(7, 2)
    role.probes[None][0].dispose()
    role.probes[None] = [gone, demoted, new]
    for _ in range(3):
        monitor.maintain()
    assert monitor.latest == Position(2, 7)
    assert [probe.asked for probe in (gone, demoted, new)] == [1, 1, 1]
    assert recycled == []  # There was no other one before.


def test_connections_are_replaced_and_a_signal_is_sent_when_a_timeline_begins(
    monitor: Monitor, role: FakeRole, clock: ManualClock, recycled: list[str]
) -> None:
    told = []

    def note(**kwargs: Any) -> None:
        told.append((kwargs["primary"], kwargs["timeline"]))

    (probe,) = role.probes[None]
    look(monitor, clock)
    primary_changed.connect(note)
    try:
        probe.says = primary(9, 2)
        look(monitor, clock)
        look(monitor, clock)
    finally:
        primary_changed.disconnect(note)
    assert recycled == ["default", "copies@default"]
    assert told == [("default", 2)]


def test_connections_are_replaced_once_when_the_primary_is_demoted(
    monitor: Monitor, role: FakeRole, clock: ManualClock, recycled: list[str]
) -> None:
    (probe,) = role.probes[None]
    look(monitor, clock)
    probe.says = standby(9)
    for _ in range(3):
        look(monitor, clock)
    assert recycled == ["default", "copies@default"]


def test_roles_of_settings_that_changed_are_asked_no_more(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    look(monitor, clock)
    role.is_current = False
    look(monitor, clock)
    look(monitor, clock)
    assert {(probes[0].asked, probes[0].closed) for probes in role.probes.values()} == {(1, 1)}
    assert role.hosts.is_probed
    clock.advance(10)
    assert not role.hosts.is_probed
    assert monitor.latest is None


def test_a_server_that_cannot_be_asked_keeps_no_other_from_being_asked(
    monitor: Monitor, role: FakeRole, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = role.make_probe

    def make_probe(host: Host | None, settings: dict[str, Any]) -> Any:
        if host is role.first:
            raise ValueError("wrong settings")
        return make(host, settings)

    with monkeypatch.context() as patch:
        patch.setattr(role, "make_probe", make_probe)
        look(monitor, clock)
    assert role.told == [("first", "down")]
    assert role.second.replayed == Position(1, 5)
    role.first.retry_at = 0.0
    for _ in range(3):
        look(monitor, clock)
    assert role.first.state is HostState.UP


def test_a_full_server_says_nothing_of_its_own_state(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    role.probes[role.first][0].says = ServerFull("too many clients already")
    for _ in range(3):
        look(monitor, clock)
    assert (role.first.state, role.told) == (HostState.UP, [])


def test_a_probe_is_made_anew_for_each_connection(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    """So that a password that has changed is used."""
    look(monitor, clock)
    look(monitor, clock)
    assert role.made == 3
    role.probes[role.first][0].says = OSError("it is gone")
    look(monitor, clock)
    assert role.made > 3


def test_the_primary_is_asked_where_the_settings_lead_to_by_now(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    look(monitor, clock)
    role.probes[None].append(FakeProbe(primary(9, 2)))  # Another address.
    role.probes[None][0].says = ConnectionRefusedError("it is gone")
    monitor.maintain()
    monitor.maintain()
    assert monitor.latest == Position(2, 9)


def test_what_was_seen_long_ago_is_not_known(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    look(monitor, clock)
    assert monitor.latest == Position(1, 5)
    clock.advance(60)
    assert monitor.latest is None
    assert not role.hosts.is_probed


def test_a_role_of_settings_that_have_changed_is_not_looked_after(
    monitor: Monitor, role: FakeRole, clock: ManualClock
) -> None:
    old = FakeRole(clock)
    old.is_current = False
    monitor.watch(old)
    assert monitor._roles == {role.alias: role}
    for probes in old.probes.values():
        probes[0].dispose()


def test_one_that_cannot_be_listened_to_keeps_no_other_from_being_heard(
    monitor: Monitor, role: FakeRole, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise OSError("the connection is lost")

    monkeypatch.setattr(role.probes[role.first][0], "fileno", fail)
    look(monitor, clock)
    assert role.told == [("first", "down")]
    assert role.second.replayed == Position(1, 5)
