"""``manage.py demo --replicas`` works, and would say so if a promise were broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from testproject.demo.failover import Story
from testproject.demo.summary import broken_by, render_story
from testproject.demo.visitors import Visits

ROOT = Path(__file__).resolve().parents[2]


def test_the_demonstration_of_replicas_succeeds_and_fits_the_terminal() -> None:
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    done = subprocess.run(
        [sys.executable, "manage.py", "demo", "--replicas", "--clients", "4"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "Reads of own writes that were stale                   0" in done.stdout
    assert done.stdout.endswith("The pool kept its promises.\n")
    assert max(map(len, done.stdout.splitlines())) < 80


def story(**changes: Any) -> Story:
    visits = Visits(
        reads=Counter({1: 0, 2: 1200, 3: 900}),
        writes=[1.0, 9.5],
        failed_writes=[(7.9, 8.1, "database-error"), (8.5, 8.6, "database-error")],
    )
    for name, value in changes.pop("visits", {}).items():
        setattr(visits, name, value)
    values: dict[str, Any] = {
        "visits": visits,
        "names": {1: "primary", 2: "replica1", 3: "replica2"},
        "peaks": {"primary": 4, "replica1": 8, "replica2": 4},
        "outage": (8.0, 9.0),
    }
    return Story(**values | changes)


def test_a_story_in_which_all_promises_were_kept_has_broken_none() -> None:
    assert broken_by(story()) == []
    text = render_story(story())
    assert "Writes that failed while no primary existed           2" in text
    assert max(map(len, text.splitlines())) < 80


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"visits": {"stale": 2}}, "2 reads did not show what their client had written."),
        ({"visits": {"failed_reads": ["status 500"]}}, "1 reads failed: status 500."),
        (
            {"visits": {"failed_writes": [(9.1, 9.2, "status 503")]}},
            "A write failed though there was a primary: status 503.",
        ),
        ({"visits": {"writes": [1.0, 20.0]}}, "Writes needed 11.0 s to find the new primary."),
        (
            {"visits": {"reads": Counter({1: 5, 2: 5})}},
            "Nothing was read from replica2: nothing was shown.",
        ),
        (
            {"peaks": {"primary": 4, "replica1": 13, "replica2": 4}},
            "replica1 counted 13 connections of 'shop-replicas'.",
        ),
    ],
)
def test_every_broken_promise_is_named(changes: dict[str, Any], sentence: str) -> None:
    assert broken_by(story(**changes)) == [sentence]
