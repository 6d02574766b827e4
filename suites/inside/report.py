"""What a suite's process tells its parent: a line of JSON for each test, pool, and the end."""

from __future__ import annotations

import json
import os
from pathlib import Path

#: Environment variable with the file to write to: a suite may catch what is printed.
FILE = "SUITES_REPORT"

PASSED, SKIPPED, FAILED, POOL, END = "passed", "skipped", "failed", "pool", "end"


def add(kind: str, *what: object) -> None:
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([kind, *what]) + "\n")
