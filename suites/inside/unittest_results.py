"""Reports what became of each test of a suite that Django's runner runs."""

from __future__ import annotations

import unittest
from typing import Any

from django.test.runner import DiscoverRunner

from . import report


class ReportingResult(unittest.TextTestResult):
    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's names
        super().addSuccess(test)
        _add(report.PASSED, test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        _add(report.SKIPPED, test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        _add(report.FAILED, test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        _add(report.FAILED, test)

    def addSubTest(  # noqa: N802
        self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any
    ) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            _add(report.FAILED, test)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        _add(report.PASSED, test)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        _add(report.FAILED, test)

    def stopTestRun(self) -> None:  # noqa: N802
        super().stopTestRun()
        report.add(report.END)


def _add(outcome: str, test: unittest.TestCase) -> None:
    report.add(outcome, getattr(test, "test_case", test).id())  # A subtest names its test.


def install() -> None:
    """Report the first run of this process: tests of the runner itself start others in it."""
    get_arguments = DiscoverRunner.get_test_runner_kwargs

    def get_and_report(self: DiscoverRunner) -> dict[str, Any]:
        DiscoverRunner.get_test_runner_kwargs = get_arguments  # type: ignore[method-assign]
        return {**get_arguments(self), "resultclass": ReportingResult}

    DiscoverRunner.get_test_runner_kwargs = get_and_report  # type: ignore[method-assign]
