"""What ``django.setup()`` does with a runner that is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..integrations.conftest import ROOT


@pytest.mark.parametrize(
    ("runner", "module", "text"),
    [("apscheduler", "other", ""), ("rq", "worker", "class Worker: ...")],
    ids=["a module is missing", "a method is missing"],
)
def test_an_unknown_version_of_a_runner_is_reported_and_keeps_nothing_from_starting(
    tmp_path: Path, runner: str, module: str, text: str
) -> None:
    (tmp_path / runner).mkdir()
    (tmp_path / runner / "__init__.py").touch()
    (tmp_path / runner / f"{module}.py").write_text(text)
    code = f"import {runner}, django; django.setup(); print('started')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "started\n"
    assert f"This version of {runner} is not known: decorate its tasks" in done.stderr
