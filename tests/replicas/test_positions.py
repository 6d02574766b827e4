"""A replica is known to show what it shows, also where positions in the log mislead."""

from __future__ import annotations

import itertools
import time

import pytest
from django.db import connections
from django.test import override_settings

from django_connmgr import current_token, marks_write, pools, require_token, unit_of_work
from django_connmgr.consistency.tokens import required_of
from testproject.member import Member
from testproject.replication import Replication
from testproject.shop.models import Customer
from testproject.wal import as_number

from .conftest import INTERVAL, REPLICA
from .test_routing import port_here

PAGE, PAGE_HEADER = 8192, 24


def raw_position(server: Member) -> int:
    return as_number(server.ask("SELECT pg_current_wal_insert_lsn()::text"))


def advance_to_page_header(primary: Member) -> int:
    """Write records until one ends where its page does; returns the insert position then."""
    with primary.connect() as connection:

        def write(size: int) -> int:
            """A record of a bit more than ``size``; returns the insert position."""
            connection.execute("SELECT pg_logical_emit_message(false, '', repeat('x', %s))", [size])
            row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            assert row
            return as_number(row[0])

        # What a record has beside its text is rounded up to 8 bytes: one of these is right.
        for extra in itertools.islice(itertools.cycle(range(40, 88, 8)), 60):
            wanted = PAGE - write(1) % PAGE
            if wanted < 1000:
                write(wanted)  # Onto the next page.
            else:
                reached = write(wanted - extra)
                if reached % PAGE == PAGE_HEADER:
                    return reached
    raise AssertionError("No record ended a page.")


def is_read_from_a_replica(project: Replication, token: str | None) -> bool:
    with unit_of_work():
        assert require_token(token)
        return port_here() != project.primary.port


def accept_within(project: Replication, token: str | None, seconds: float) -> None:
    began = time.monotonic()
    with override_settings(CONNMGR={"PROBE_INTERVAL": INTERVAL, "WAIT": 10}):
        assert is_read_from_a_replica(project, token)
    assert time.monotonic() - began < seconds


def token_of(project: Replication) -> str | None:
    """Of a unit that has committed, with nothing written to the log since ``advance``."""
    with unit_of_work():
        marks_write()
        return current_token()


def test_a_token_just_behind_a_page_header_is_accepted(project: Replication) -> None:
    pools["default"].stats()
    raw = advance_to_page_header(project.primary)
    token = token_of(project)
    assert raw_position(project.primary) == raw
    project.await_replayed()
    accept_within(project, token, 0.1)
    # The raw value would be waited for in vain.
    for replica in project.replicas:
        assert replica.replayed() < raw


def test_a_token_after_another_segment_began_is_accepted(project: Replication) -> None:
    Customer.objects.create(name="Ada")
    project.primary.switch_wal()
    raw = raw_position(project.primary)
    token = token_of(project)
    project.await_replayed()
    accept_within(project, token, 0.1)
    assert raw_position(project.primary) == raw
    for replica in project.replicas:
        assert replica.replayed() < raw


@pytest.mark.parametrize("token", [None, "forged"])
def test_what_is_no_token_is_not_waited_for(project: Replication, token: str | None) -> None:
    for replica in project.replicas:
        replica.pause_replay()
    Customer.objects.create(name="Ada")
    with unit_of_work():
        assert not require_token(token)
        assert port_here() != project.primary.port


def test_a_token_that_comes_in_the_middle_of_a_unit_is_heeded(project: Replication) -> None:
    """The unit has a connection already, to a replica that lacks the write."""
    for replica in project.replicas:
        replica.pause_replay()
    with unit_of_work():
        Customer.objects.create(name="Ada")
        token = current_token()
    with unit_of_work():
        assert port_here() != project.primary.port
        require_token(token)
        assert port_here() == project.primary.port
        assert Customer.objects.using(REPLICA).count() == 1


def test_of_several_tokens_the_furthest_counts(project: Replication) -> None:
    tokens = []
    for name in ("Ada", "Grace", "Edsger"):
        with unit_of_work():
            Customer.objects.create(name=name)
            tokens.append(current_token())
    positions = []
    for order in itertools.permutations(tokens):
        with unit_of_work():
            for token in order:
                require_token(token)
            positions.append(required_of("default"))
    with unit_of_work():
        require_token(tokens[2])
        assert set(positions) == {required_of("default")}


def test_an_address_of_several_servers_is_asked_on_each_connection(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in connections.settings[REPLICA]["OPTIONS"]["hosts"]:
        host["ENDPOINT"] = True
    with unit_of_work():
        Customer.objects.create(name="Ada")
        token = current_token()
    project.await_replayed()
    asked: list[object] = []
    driver = type(pools["default"].driver)  # type: ignore[attr-defined]
    ask = driver.report_of
    monkeypatch.setattr(driver, "report_of", lambda self, raw: asked.append(raw) or ask(self, raw))
    for number in range(1, 5):
        assert is_read_from_a_replica(project, token)
        assert len(asked) == number
