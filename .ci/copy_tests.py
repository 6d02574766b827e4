"""Copies the tests, and what they need beside the package, into an empty directory.

The tests run there, so that ``import django_connmgr`` finds the installed wheel: in the
checkout it would find the source, which may have files that the wheel lacks.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (
    "tests",
    "testproject",
    "benchmarks",
    "suites",
    "docs",
    "*.md",
    "manage.py",
    "pyproject.toml",
    "tox.ini",
    ".github",
)


def copy(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source in (path for pattern in NEEDED for path in ROOT.glob(pattern)):
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / source.name, ignore=skipped)
        else:
            shutil.copy(source, target)


if __name__ == "__main__":
    copy(Path(sys.argv[1]))
