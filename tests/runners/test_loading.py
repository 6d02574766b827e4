"""What ``django.setup()`` does with a runner that is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..integrations.conftest import ROOT


def test_an_unknown_version_of_a_runner_is_reported_and_keeps_nothing_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / "apscheduler").mkdir()
    (tmp_path / "apscheduler" / "__init__.py").touch()
    code = "import apscheduler, django; django.setup(); print('started')"
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
    assert "This version of apscheduler is not known: decorate its tasks" in done.stderr
