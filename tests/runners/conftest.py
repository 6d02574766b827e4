"""Workers as processes of their own, each through with its tasks before it is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testproject.cluster import Cluster

from ..integrations.conftest import (
    ROOT,
    broker_url,  # noqa: F401 - a fixture
    eventually,
    logging_cluster,  # noqa: F401 - a fixture
    require,
)
from ..recording import recording
from .runners import RUNNERS, Runner


def environment(url: str, **others: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.runners.settings",
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "BROKER_URL": "",
        "PYTHONDEVMODE": "",
        **others,
    }


@pytest.fixture(scope="session")
def database_url(logging_cluster: Cluster) -> str:  # noqa: F811 - a fixture
    """A database with the tables of all runners that have some."""
    logging_cluster.psql("CREATE DATABASE runners")
    url = f"{logging_cluster.url.rpartition('/')[0]}/runners"
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--verbosity", "0"],
        env=environment(url, RUNNER="", ROLE="migrate", NAME="all"),
        cwd=ROOT,
        check=True,
    )
    return url


#: Whose workers can be recorded: coverage may hang in a forked child.
NEVER_FORKS = {"apscheduler", "django-tasks-db", "procrastinate"}


@dataclass
class Run:
    """What a worker did, and what the server saw of it."""

    runner: Runner
    notes: list[dict[str, Any]]
    connects: dict[str, int]

    def noted(self, key: str) -> list[dict[str, Any]]:
        return [note for note in self.notes if key in note]


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def ended(notes: list[dict[str, Any]]) -> Counter[str]:
    """How many units have ended, by the last part of their names."""
    return Counter(note["ended"].rpartition(".")[2] for note in notes if "ended" in note)


def work_through(runner: Runner, directory: Path, variables: Mapping[str, str]) -> Path:
    """Have a worker run all tasks, and stop it. Returns the file of what was noted."""
    notes, log = directory / "notes", directory / "log"
    notes.touch()
    worker_variables = {**variables, **runner.environment, "NOTES": str(notes), "ROLE": "work"}
    if runner.package in NEVER_FORKS:
        worker_variables |= recording()
    command = [sys.executable, "-m", *runner.command]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*command, *(runner.tasks if runner.sends_itself else [])],
            env=worker_variables,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        if not runner.sends_itself:
            subprocess.run(
                [sys.executable, "-m", "tests.runners.send", *runner.tasks],
                env={**variables, "ROLE": "send"},
                cwd=ROOT,
                check=True,
            )
        eventually(
            lambda: ended(read(notes)) >= runner.runs,
            f"Tasks are missing of {runner.runs}.",
        )
    finally:
        worker.terminate()
        try:
            worker.wait(20)
        finally:
            worker.kill()
            # Shown if something failed.
            sys.stdout.write(f"{ended(read(notes))}\n{log.read_text()[-20000:]}")
    return notes


@pytest.fixture(scope="module", params=RUNNERS, ids=lambda runner: runner.name)
def run(
    request: pytest.FixtureRequest,
    logging_cluster: Cluster,  # noqa: F811 - a fixture
    database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    runner = request.param
    require(runner.module)
    broker = request.getfixturevalue("broker_url") if runner.needs_redis else ""
    variables = environment(database_url, RUNNER=runner.module, NAME=runner.name, BROKER_URL=broker)
    notes = work_through(runner, tmp_path_factory.mktemp(runner.name), variables)
    log = logging_cluster.log.read_text(errors="replace")
    connects = {
        alias: log.count(f"application_name=work-{runner.name}-{alias}\n")
        for alias in ("default", "second")
    }
    return Run(runner, read(notes), connects)
