"""What having a pool costs before there is anything to do, and how many threads pools keep."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

from ..contestants import PoolSettings
from ..project import databases, environment, set_up
from ..scenario import Metric, Outcome, Scenario, Stage, at_most, at_most_above

_POOLS = 100

#: Processor time, because the time that a disk takes is not the package's.
_IMPORT = """
import time
began = time.process_time()
import django
django.setup()
from django.db import connections
connections["default"]
print(time.process_time() - began)
"""

_CHECK = """
import threading
import django
from django.core.management import call_command
django.setup()
call_command("check", verbosity=0)
print(threading.active_count() - 1)
"""


def _run(stage: Stage) -> Outcome:
    one = databases(stage.contestant, stage.server, PoolSettings(size=4))
    many = databases(stage.contestant, stage.server, PoolSettings(size=1), _POOLS)
    # The first import compiles; what the others take beyond the least is other processes' work.
    imports = [_in_new_process(_IMPORT, one) for _ in range(2 + int(stage.scaled(4)))]
    return Outcome(
        {
            "import": 1000 * min(imports[1:]),
            "threads after check": _in_new_process(_CHECK, many),
            "threads for pools": _threads_for(many),
        }
    )


def _in_new_process(code: str, wanted: dict[str, Any]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code],
        # With the bytecode that an installed package comes with.
        env={**os.environ, **environment(wanted), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def _threads_for(wanted: dict[str, Any]) -> float:
    set_up(wanted)
    from django.db import connections

    before = threading.active_count()
    for wrapper in connections.all():
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
    return float(threading.active_count() - before)


SCENARIOS = (
    Scenario(
        name="startup",
        does="The processor time of `django.setup()` and of importing the engine; the threads "
        "that `manage.py check` leaves, and those of 100 pools in use.",
        contestants=("ours", "stock", "django-pool", "db-connection-pool"),
        metrics=(
            Metric("import", "ms"),
            Metric("threads after check"),
            Metric("threads for pools"),
        ),
        targets=(
            at_most_above(15, "import", peer="stock"),
            at_most(0, "threads after check"),
            at_most(1, "threads for pools"),
        ),
        run=_run,
        rounds=3,
    ),
)
