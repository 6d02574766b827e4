"""What a suite's output says: how many tests ran, and which did not pass."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

# unittest: a line of '=', then "FAIL: test_it (package.module.Class.test_it) (subtest=1)".
_UNITTEST = re.compile(
    r"^={70}\n(?:FAIL|ERROR|UNEXPECTED SUCCESS): (\S+) \(([\w.]+)\)", re.MULTILINE
)
# "test_it (package.module.Class.test_it) ... skipped 'reason'", its docstring on a second line.
_UNITTEST_SKIPPED = re.compile(r"^(\S+) \(([\w.]+)\)(?:\n[^\n]*)? \.\.\. skipped ", re.MULTILINE)
_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s", re.MULTILINE)
# pytest: "FAILED tests/test_it.py::Class::test_it[parameter] - message".
_PYTEST = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?|\S+\.py)(?: - .*)?$", re.MULTILINE)
_PYTEST_SKIPPED = re.compile(r"^(\S+?::.+?) SKIPPED\b", re.MULTILINE)
_PYTEST_RAN = re.compile(r"^=+ (.*\b(?:passed|failed|errors?)\b.*) in [\d.]+s.*=+$", re.MULTILINE)
_END = re.compile(r"^suites: (\{.*\})$", re.MULTILINE)


@dataclass(frozen=True)
class End:
    """What cannot be seen in the output of a suite; added to it, so that all is in one place."""

    status: int
    #: What was to be run.
    labels: list[str]
    #: Test databases that are still there, because they could not be dropped.
    left: list[str]
    #: Alias, code and numbers: see ``inside.proof``.
    proofs: list[tuple[str, str, str | None]]

    def as_line(self) -> str:
        return f"\nsuites: {json.dumps(asdict(self))}\n"


@dataclass(frozen=True)
class Outcome:
    #: ``None`` if the suite did not come to its end.
    tests: int | None
    #: Tests by their ids: that were skipped, and that failed or could not be run. A database
    #: that could not be dropped is no test, and yet fails on one engine and not on another.
    skipped: frozenset[str]
    failures: frozenset[str]
    end: End

    @classmethod
    def parse(cls, output: str) -> Outcome | None:
        """``None`` if it is the output of a run that is not over."""
        if not (ends := _END.findall(output)):
            return None
        end = End(**json.loads(ends[-1]))
        tests = None
        failures = {_id(*found) for found in _UNITTEST.findall(output)}
        skipped = {_id(*found) for found in _UNITTEST_SKIPPED.findall(output)}
        if ran := _UNITTEST_RAN.search(output):
            tests = int(ran[1])
        elif ran := _PYTEST_RAN.search(output):
            counts = re.findall(r"(\d+) (?:passed|failed|skipped|xfailed|xpassed)", ran[1])
            tests = sum(map(int, counts))
            failures |= set(_PYTEST.findall(output))
            skipped |= set(_PYTEST_SKIPPED.findall(output))
        failures |= {f"database {name} could not be dropped" for name in end.left}
        return cls(tests, frozenset(skipped), frozenset(failures), end)


def _id(name: str, where: str) -> str:
    """``where`` is the id of the test; or of a class, if it is the class that failed."""
    return where if where.endswith(f".{name}") or "." in name else f"{where}.{name}"
