"""What came of one run: read from the report that the suite's process wrote."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .inside.report import END, FAILED, PASSED, POOL, SKIPPED

#: A test may be said to be several things, because of its subtests or its teardown: the last
#: of these holds.
_WORST = (PASSED, SKIPPED, FAILED)


@dataclass(frozen=True)
class Outcome:
    #: The exit status of the process.
    status: int
    #: Whether the suite came to its end.
    is_whole: bool
    #: What was to be run.
    labels: list[str]
    #: What it ran with: the suite's, Python's and so on, each with its name.
    versions: list[str]
    #: Tests by their ids, and ``passed``, ``skipped`` or ``failed``.
    tests: dict[str, str]
    #: Alias, code and numbers: see ``inside.proof``.
    pools: list[tuple[str, str, str | None]]
    #: Tests of it that were run once more, alone: what came of that holds.
    alone: list[str] = field(default_factory=list)

    @cached_property
    def failures(self) -> frozenset[str]:
        return self._those(FAILED)

    @cached_property
    def skipped(self) -> frozenset[str]:
        return self._those(SKIPPED)

    def _those(self, outcome: str) -> frozenset[str]:
        return frozenset(test for test, came in self.tests.items() if came == outcome)

    @classmethod
    def read(cls, report: str, left: list[str], **known: Any) -> Outcome:
        """From a report, and the test databases that are ``left`` because of a failed drop.

        Such a database is no test, and yet fails on one engine and not on another.
        """
        tests = {f"database {name} could not be dropped": FAILED for name in left}
        pools: list[tuple[str, str, str | None]] = []
        is_whole = False
        for line in report.splitlines():
            kind, *what = json.loads(line)
            if kind == POOL:
                pools.append((what[0], what[1], what[2]))
            elif kind == END:
                is_whole = True
            else:
                tests[what[0]] = max(kind, tests.get(what[0], PASSED), key=_WORST.index)
        return cls(is_whole=is_whole, tests=tests, pools=pools, **known)

    def corrected(self, alone: Outcome) -> Outcome:
        """With what came of some of its tests when they were run alone."""
        tests = {test: came for test, came in alone.tests.items() if test in self.tests}
        names = sorted({*self.alone, *tests})
        return replace(self, status=alone.status, tests={**self.tests, **tests}, alone=names)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=0, sort_keys=True))

    @classmethod
    def load(cls, path: Path) -> Outcome | None:
        return cls(**json.loads(path.read_text())) if path.exists() else None


def compared(ours: Outcome, stock: Outcome) -> list[str]:
    """Tests that pass on Django's engine and not on ours, with what they do instead."""
    found = []
    for test, outcome in stock.tests.items():
        here = ours.tests.get(test)
        if outcome == PASSED and here != PASSED:
            found.append(test if here == FAILED else f"{test} ({here or 'not run'})")
    new = {test for test in ours.failures if test not in stock.tests}
    changed = {test for test in ours.failures if stock.tests.get(test) == SKIPPED}
    return sorted({*found, *new, *changed})
