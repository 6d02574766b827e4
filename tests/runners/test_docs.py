"""The table of runners in the documentation is what these tests run."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections import defaultdict

from django_connmgr import integrations

from ..integrations.conftest import ROOT
from .runners import RUNNERS

#: What is tested elsewhere, and what only carries tokens.
OTHERS = {"asgi", "celery", "channels", "django_tasks", "grpc", "kafka", "uwsgi"}


def test_the_table_says_what_is_tested() -> None:
    text = (ROOT / "docs" / "integrations.md").read_text()
    rows = re.findall(r"^\|.*\| (`[^|]*?\))(?:;[^|]*)? \|$", text, re.MULTILINE)
    kinds = defaultdict(list)
    for runner in RUNNERS:
        kinds[runner.package].append(f"`{runner.package}` ({runner.kind})")
    assert rows == [", ".join(names) for names in kinds.values()]


def test_every_integration_is_tested() -> None:
    files = {module.name for module in pkgutil.iter_modules(integrations.__path__)}
    assert {runner.module for runner in RUNNERS} == files - OTHERS


def test_every_runner_is_installed_where_the_tests_run() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    packages = {re.match(r"[\w-]+", line)[0] for line in groups["runners"]}  # type: ignore[index]
    assert {runner.package for runner in RUNNERS} <= packages
