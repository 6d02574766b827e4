"""uWSGI forks its workers without telling Python, and calls one hook in each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testproject.cluster import Cluster

from .launch import UWSGI, WSGI, Reply, serving

COMMAND = tuple(
    "tests.servers.project.forked:application" if part == WSGI else part for part in UWSGI.command
)
KIND = replace(UWSGI, name="uwsgi-with-own-hook", command=COMMAND)


@pytest.mark.parametrize("is_decorated", [False, True], ids=["set before", "by uwsgidecorators"])
def test_the_hook_of_the_project_is_called_and_has_a_connection_of_its_process(
    cluster: Cluster, tmp_path: Path, *, is_decorated: bool
) -> None:
    notes = tmp_path / "notes"
    with serving(cluster, KIND, 2, notes=str(notes), decorated=is_decorated) as server:
        assert server.get_many(*["query/"] * 16) == [Reply(200, "heap")] * 16
        server.settled()
        pairs = [line.split() for line in notes.read_text().splitlines()]
    processes, sessions = zip(*pairs, strict=True)
    assert len(set(processes)) == len(set(sessions)) == len(pairs) == 3  # The master's too.
