"""Under tox, the package that is tested is the installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import django_connmgr

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    "TOX_ENV_NAME" not in os.environ, reason="Outside tox, the checkout is tested."
)


def installed() -> str:
    return str(Path(sysconfig.get_path("purelib"), "django_connmgr", "__init__.py"))


def test_this_process_imports_the_installed_package() -> None:
    assert django_connmgr.__file__ == installed()


def test_a_process_that_starts_beside_the_tests_imports_it_too() -> None:
    code = "import django_connmgr; print(django_connmgr.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{installed()}\n"


def test_the_wheel_says_that_the_package_is_typed() -> None:
    assert Path(installed()).with_name("py.typed").exists()
