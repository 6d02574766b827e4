"""Django's own test runner: test databases, clones of them, and databases that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from testproject.cluster import Cluster

from .process import Python

#: On one thread of ours, forking asks for it; the runner forks its workers.
IGNORED = ("-W", "ignore:This process:DeprecationWarning")


def run_tests(
    python: Python, *arguments: str, url: str, settings: str, suite: str = "sample"
) -> str:
    """Run a small suite; returns what the runner printed, which is everything on stderr."""
    environment = {**python.environment(url=url), "DJANGO_SETTINGS_MODULE": settings}
    done = python.run(
        *IGNORED, "manage.py", "test", f"tests.django.{suite}", *arguments,
        environment=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr
    assert "Warning" not in done.stderr
    assert "took back" not in done.stderr
    return done.stderr


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """A URL and the settings to use it with."""
    if request.param == "postgresql":
        url = cluster.url.removesuffix("connmgr") + "runner"
        return {"url": url, "settings": "testproject.settings"}
    return {"url": f"sqlite:///{tmp_path}/db.sqlite3", "settings": "tests.django.filesettings"}


def test_it_keeps_databases_uses_them_again_and_clones_them(
    python: Python, cluster: Cluster, place: dict[str, str]
) -> None:
    try:
        assert "Ran 6 tests" in run_tests(python, "--keepdb", **place)
        out = run_tests(python, "--keepdb", "--parallel", "2", "-v", "2", **place)
        assert "Ran 6 tests" in out
        assert "Using existing test database for alias 'default'" in out
        assert out.count("existing clone for alias 'default'") == 2
    finally:
        for name in ("test_runner", "test_runner_1", "test_runner_2"):
            cluster.psql(f"DROP DATABASE IF EXISTS {name}")


def test_it_removes_its_databases(python: Python, cluster: Cluster) -> None:
    url = cluster.url.removesuffix("connmgr") + "runner"
    run_tests(python, "--parallel", "2", url=url, settings="testproject.settings")
    assert "runner" not in cluster.psql("SELECT datname FROM pg_database")


@pytest.mark.parametrize("arguments", [[], ["--parallel", "2"]], ids=["serial", "parallel"])
def test_a_mirror_does_not_keep_its_database_from_being_dropped(
    python: Python, cluster: Cluster, arguments: list[str]
) -> None:
    url = cluster.url.removesuffix("connmgr") + "mirrored"
    settings = "tests.django.mirrorsettings"
    out = run_tests(python, *arguments, url=url, settings=settings, suite="mirror")
    assert "Ran 2 tests" in out
    assert "mirrored" not in cluster.psql("SELECT datname FROM pg_database")
