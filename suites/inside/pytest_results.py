"""A plug-in for pytest: swaps the engine, and reports what became of each test."""

from __future__ import annotations

import pytest

from . import swap
from .report import END, add

swap.install()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        add(report.outcome, report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.outcome != "passed":
        add(report.outcome, report.nodeid)


def pytest_sessionfinish() -> None:
    add(END)
