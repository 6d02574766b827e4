"""Copies the tests, and what they need beside the package, into an empty directory.

The tests run there, so that ``import django_connmgr`` finds the installed wheel: in the
checkout it would find the source, which may have files that the wheel lacks.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("tests", "testproject", "benchmarks", "docs", "README.md", "manage.py", "pyproject.toml")


def copy(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


if __name__ == "__main__":
    copy(Path(sys.argv[1]))
