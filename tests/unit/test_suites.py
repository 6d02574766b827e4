"""The comparison of other people's suites: what is reported, what counts, and what it says."""

from __future__ import annotations

import dataclasses
import io
import unittest
from pathlib import Path

import pytest

from suites import document, known
from suites.inside import report
from suites.inside.unittest_results import ReportingResult
from suites.known import Known
from suites.mode import MODES, STOCK
from suites.outcome import Outcome, compared
from suites.row import Row
from suites.table import lines

REQUEST, TRANSACTION = list(MODES)[:2]
PLACE = ("package", "postgresql")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"


def outcome(**tests: str) -> Outcome:
    """A whole run of these tests, on a pool."""
    versions = ["package-1.0", "Python 3.13.0"]
    return Outcome(0, True, [], versions, dict(tests), [("default", "code", "checkouts=1")])


def ours(*, stock: Outcome | None, mode: str = REQUEST, **tests: str) -> Row:
    return Row("package", "postgresql", mode, outcome(**tests), stock)


class Sample(unittest.TestCase):
    __test__ = False  # Not for pytest.

    def test_passes(self) -> None: ...

    def test_fails(self) -> None:
        self.fail("it shall")

    def test_raises(self) -> None:
        raise ValueError

    def test_is_skipped(self) -> None:
        self.skipTest("it shall")

    def test_fails_in_one_of_its_subtests(self) -> None:
        for number in range(3):
            with self.subTest(number=number):
                assert number != 1

    def test_is_skipped_in_one_of_its_subtests(self) -> None:
        for number in range(3):
            with self.subTest(number=number):
                if number == 1:
                    self.skipTest("it shall")

    @unittest.expectedFailure
    def test_fails_as_expected(self) -> None:
        self.fail("it shall")

    @unittest.expectedFailure
    def test_passes_unexpectedly(self) -> None: ...


def test_what_becomes_of_each_test_of_unittest_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report"
    monkeypatch.setenv(report.FILE, str(file))
    runner = unittest.TextTestRunner(stream=io.StringIO(), resultclass=ReportingResult)
    runner.run(unittest.defaultTestLoader.loadTestsFromTestCase(Sample))
    seen = Outcome.read(file.read_text(), [], status=1, labels=[], versions=[])
    assert seen.is_whole
    assert {test.rpartition(".")[2]: came for test, came in seen.tests.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_raises": "failed",
        "test_is_skipped": "skipped",
        "test_fails_in_one_of_its_subtests": "failed",
        "test_is_skipped_in_one_of_its_subtests": "skipped",
        "test_fails_as_expected": "passed",
        "test_passes_unexpectedly": "failed",
    }


def test_an_outcome_is_read_and_remembered(tmp_path: Path) -> None:
    text = '["failed", "a"]\n["passed", "a"]\n["passed", "b"]\n["pool", "default", "code", null]\n'
    seen = Outcome.read(text, ["test_left"], status=1, labels=["a"], versions=["package-1.0"])
    left = "database test_left could not be dropped"
    assert (seen.is_whole, seen.failures, seen.skipped) == (False, {"a", left}, set())
    seen.save(tmp_path / "outcome.json")
    loaded = Outcome.load(tmp_path / "outcome.json")
    assert loaded is not None
    assert [tuple(pool) for pool in loaded.pools] == seen.pools == [("default", "code", None)]
    assert dataclasses.replace(loaded, pools=seen.pools) == seen


def test_what_failed_among_others_may_pass_alone() -> None:
    stock, whole = outcome(a="passed", b="passed"), outcome(a="failed", b="failed")
    there = ours(stock=stock, a="failed", b="failed")
    corrected = whole.corrected(outcome(a="passed", b="failed", c="passed"))
    assert (corrected.tests, corrected.alone) == ({"a": "passed", "b": "failed"}, ["a", "b"])
    again = dataclasses.replace(there, outcome=corrected)
    assert (again.new, again.alone) == (["b"], 1)
    page = document.text([Row("package", "postgresql", STOCK, stock, stock), again], [PLACE])
    assert "| 1 new, 0 listed, 1 passed alone |" in page


def test_only_what_passes_on_stock_and_not_here_differs() -> None:
    stock = outcome(a="passed", b="passed", c="passed", d="passed", e="failed", f="skipped")
    here = outcome(a="passed", b="failed", c="skipped", e="passed", f="failed", g="failed")
    assert compared(here, stock) == ["b", "c (skipped)", "d (not run)", "f", "g"]
    assert compared(stock, stock) == []


def test_a_new_failure_fails_the_comparison_and_a_listed_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = Known("It shall", ("b",), servers=("postgresql",), modes=(REQUEST,))
    monkeypatch.setattr(known, "KNOWN", (entry,))
    stock = outcome(a="passed", b="passed")
    there = ours(stock=stock, a="passed", b="failed")
    assert (there.is_fine, there.new, there.listed) == (True, [], ["b"])
    elsewhere = ours(stock=stock, mode=TRANSACTION, a="passed", b="failed")
    assert (elsewhere.is_fine, elsewhere.new) == (False, ["b"])


def test_a_stale_entry_fails_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KNOWN", (Known("It shall", ("b", "c (skipped)")),))
    stock = outcome(a="passed", b="passed", c="passed")
    there = ours(stock=stock, a="passed", b="passed", c="passed")
    assert (there.is_fine, there.stale) == (False, ["b", "c (skipped)"])
    assert ours(stock=outcome(a="passed"), a="passed").is_fine, "another selection of tests"
    assert ours(stock=outcome(b="failed"), b="failed").is_fine, "it says nothing of this"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"is_whole": False}, "did not come to its end"),
        ({"status": 2}, "no failure was reported"),
        ({"pools": []}, "says of no pool"),
        ({"pools": [("default", "code", None)]}, "did not pool the connections of 'default'"),
    ],
)
def test_numbers_that_prove_nothing_fail_the_comparison(
    change: dict[str, object], problem: str
) -> None:
    stock = outcome(a="passed")
    there = ours(stock=stock, a="passed")
    assert there.is_fine
    changed = dataclasses.replace(there, outcome=dataclasses.replace(stock, **change))
    assert not changed.is_fine
    assert problem in "".join(changed.problems)


def test_a_run_that_is_compared_with_nothing_proves_nothing() -> None:
    assert not ours(stock=None, a="passed").is_fine


def test_the_table_and_the_page_say_what_was_run_and_what_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = Known("It shall", ("b",), modes=(REQUEST,))
    for module in (known, document):
        monkeypatch.setattr(module, "KNOWN", (entry,))
    stock = outcome(a="passed", b="passed", c="failed")
    rows = [
        Row("package", "postgresql", STOCK, stock, stock),
        ours(stock=stock, a="passed", b="failed", c="failed"),
        ours(stock=stock, mode=TRANSACTION, a="failed", b="passed", c="failed"),
    ]
    table = [line.split() for line in lines(rows)]
    assert table[1:4] == [
        ["package", "postgresql", "stock", "3", "0", "1"],
        ["package", "postgresql", REQUEST, "3", "0", "2", "0", "1"],
        ["package", "postgresql", TRANSACTION, "3", "0", "2", "1", "0"],
    ]
    page = document.text(rows, [PLACE, ("other", "sqlite3")]).splitlines()
    counts = "0 new, 1 listed | 1 new, 0 listed | not run | not run |"
    assert f"| package | postgresql | 3 | 0 | 1 | {counts}" in page
    assert "| other | sqlite3 |" + " not run |" * 7 in page
    assert "- package on postgresql: package-1.0, Python 3.13.0" in page
    assert page[-3:] == [f"It shall (with `{REQUEST}`):", "", "- `b`"]


def test_the_page_lists_every_entry_and_no_other() -> None:
    *_, listed = PAGE.read_text().partition("## What is listed\n")
    *_, expected = document.text([], []).partition("## What is listed\n")
    assert listed == expected
