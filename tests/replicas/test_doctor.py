"""``manage.py connmgr doctor`` on replicas: healthy, writable, stale and gone."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from testproject.replication import Replication

from .conftest import REPLICA


def doctor(*, status: int = 0) -> list[str]:
    """What it prints of each server, in one line of words."""
    out = io.StringIO()
    try:
        call_command("connmgr", "doctor", "--alias", REPLICA, "--timeout", "1", stdout=out)
    except SystemExit as ended:
        found = ended.code
    else:
        found = 0
    assert found == status, out.getvalue()
    return [" ".join(chart.split()) for chart in out.getvalue().split("\n\n")]


def test_healthy_standbys_are_found_well(project: Replication) -> None:
    charts = doctor()
    assert [chart.split()[0] for chart in charts] == ["copies@replica1", "copies@replica2"]
    for chart in charts:
        assert "ok A standby that takes no writes, " in chart


def test_one_that_takes_writes_is_told(project: Replication) -> None:
    project.promote(project.replicas[0])
    first, second = doctor(status=1)
    assert "failure This replica takes writes: it is no standby, or was promoted." in first
    assert "failure" not in second or "stale" in second


def test_a_stale_one_is_told(project: Replication) -> None:
    project.replicas[1].pause_replay()
    first, second = doctor(status=1)
    assert "ok A standby" in first
    assert "failure This replica is stale: its replay is paused." in second


def test_one_that_is_gone_is_told_and_the_others_are_examined(project: Replication) -> None:
    project.replicas[0].kill()
    first, second = doctor(status=1)
    assert "failure The server cannot be used" in first
    assert "ok A standby" in second


@pytest.mark.parametrize("column", [80])
def test_each_line_fits_a_terminal(project: Replication, column: int) -> None:
    out = io.StringIO()
    call_command("connmgr", "doctor", "--alias", REPLICA, stdout=out)
    assert max(map(len, out.getvalue().splitlines())) <= column
