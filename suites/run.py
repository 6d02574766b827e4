"""One run of one suite, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testproject.cluster import DATABASE, USER, Cluster

from .inside.proof import FILE
from .inside.server import ADDRESS, POOL
from .outcome import End, Outcome
from .suite import Suite

#: The checkout that this file is in.
ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a run may take, and then the interpreter to print where it hangs.
PATIENCE, LAST_WORDS = 900, 10

#: What would change what a suite does.
_IGNORED = ("DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE", "PYTHONWARNINGS", "PYTEST_ADDOPTS")


@dataclass(frozen=True)
class Run:
    suite: Suite
    source: Path
    labels: tuple[str, ...]
    #: ``OPTIONS["pool"]``; ``None`` for Django's own engine.
    pool: Mapping[str, Any] | None
    #: Where to write what is printed.
    output: Path

    def on(self, cluster: Cluster) -> Outcome:
        with tempfile.TemporaryDirectory() as directory:
            proof = Path(directory) / "proof"
            proof.touch()
            with self.output.open("wb") as file:
                process = subprocess.Popen(  # noqa: S603 - a suite, with arguments of our own
                    self.suite.command(self.source, self.labels),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=self.source,
                    env=self._environment(cluster, proof),
                    start_new_session=True,
                )
                status = _wait(process)
            proofs = [json.loads(line) for line in proof.read_text().splitlines()]
        end = End(status, list(self.labels), _drop_leftovers(cluster), proofs)
        with self.output.open("a") as file_again:
            file_again.write(end.as_line())
        outcome = self.remembered()
        assert outcome is not None  # noqa: S101 - its end was just written
        return outcome

    def remembered(self) -> Outcome | None:
        """The outcome of the last run with this output, if that was of the same tests."""
        if not self.output.exists():
            return None
        outcome = Outcome.parse(self.output.read_text(errors="replace"))
        return outcome if outcome is not None and outcome.end.labels == [*self.labels] else None

    def _environment(self, cluster: Cluster, proof: Path) -> dict[str, str]:
        address = {
            "NAME": DATABASE,
            "USER": USER,
            "PASSWORD": cluster.password,
            "HOST": cluster.host,
            "PORT": str(cluster.port),
        }
        inherited = {key: value for key, value in os.environ.items() if key not in _IGNORED}
        # A user that sets it means another checkout's engine. The suites' own code is the current
        # directory's, or the script's.
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
        return {
            **inherited,
            **self.suite.environment(address),
            "PYTHONPATH": path,
            "PYTHONFAULTHANDLER": "1",
            ADDRESS: json.dumps(address),
            POOL: json.dumps(self.pool),
            FILE: str(proof),
        }


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Until it ends; then nothing is left of what it started."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # Prints the stacks of all threads.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS)
        return -signal.SIGABRT
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _drop_leftovers(cluster: Cluster) -> list[str]:
    """Test databases that a run left behind: the next one would fail because of them."""
    query = r"SELECT datname FROM pg_database WHERE datname LIKE 'test\_%' ORDER BY datname"
    left = cluster.psql(query).split()
    for name in left:
        cluster.psql(f'DROP DATABASE "{name}" WITH (FORCE)')
    return left
