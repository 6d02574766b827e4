"""``python -m django check`` tells what is wrong with pool options, in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from testproject.cluster import Cluster

from .process import ROOT, Python

SETTINGS = """
from testproject.settings import *
from testproject.settings import DATABASES

DATABASES["default"].setdefault("OPTIONS", {{}})["pool"] = {pool!r}
"""

#: What stands there, and the check and the hint that it leads to.
WRONG: dict[str, tuple[object, str, str]] = {
    "misspelt": ({"max_sizes": 3}, "E001", "Did you mean 'max_size'?"),
    "unheard of": ({"fair_after": 0.02}, "E001", "The options are: behind, check, check_after, "),
    "no number": ({"max_size": "many"}, "E002", "It takes a whole number, 1 or more, or None"),
    "too small": ({"timeout": 0}, "E002", "It takes a number of seconds above 0"),
    "no choice": ({"release": "never"}, "E002", "It takes 'request' or 'transaction'."),
    "no callable": ({"check": "no.such.thing"}, "E002", "It takes a callable or its dotted path"),
    "no dict": (["max_size", 3], "E002", "It takes True, False, or a dict of options."),
    "bounds": ({"min_size": 9, "max_size": 3}, "E003", "Lower min_size or raise max_size."),
    "no thread": ({"keepalive": 30, "reap_interval": 0}, "E003", "Remove 'keepalive', or set"),
}


@pytest.fixture
def environment(python: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the environment of a process whose settings have these pool options."""

    def make(pool: object, url: str | None = None) -> dict[str, str]:
        (tmp_path / "pooled_settings.py").write_text(SETTINGS.format(pool=pool))
        paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "pooled_settings"}
        return {**python.environment(url=url), **paths}

    return make


def check(python: Python, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return python.run("-m", "django", "check", environment=environment)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_options_are_an_error_with_a_number_and_a_hint(
    python: Python, environment: Any, wrong: str
) -> None:
    pool, number, hint = WRONG[wrong]
    done = check(python, environment(pool))
    assert done.returncode == 1, done.stderr
    assert f"(connmgr.{number}) DATABASES['default']: " in done.stderr
    assert f"HINT: {hint}" in done.stderr
    assert done.stderr.count("connmgr.") == 1
    assert "Traceback" not in done.stderr


def test_options_of_psycopg_pool_are_only_warned_about(
    python: Python, environment: Any, cluster: Cluster
) -> None:
    environment = environment({"open": True, "num_workers": 3, "max_size": 2}, cluster.url)
    done = check(python, environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("?: (connmgr.W003) DATABASES['default']: ") == 2
    assert "'open'" in done.stderr
    assert "'num_workers'" in done.stderr
    assert done.stderr.count("HINT: Remove it: ") == 2
    script = """
import django
django.setup()
from django.db import connection
from django_connmgr import pools
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
    print(cursor.fetchone()[0], pools["default"].stats().max_size)
"""
    done = python.run("-c", script, environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 2\n", "")
