"""Commands of the shop, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from ..settings import BASE_DIR
from .database import DemoError


def manage(environment: Mapping[str, str], *arguments: str) -> None:
    """Run ``manage.py`` in the environment of the serving process. Raises ``DemoError``."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"'manage.py {arguments[0]}' failed:\n{done.stderr.strip()}")
