"""One run of one suite, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import django

from .inside.report import FILE
from .inside.server import DATABASES, POOL
from .mode import MODES
from .outcome import Outcome
from .sdist import cache, unpacked
from .server import Server
from .suite import Suite

#: The checkout that this file is in.
ROOT = Path(__file__).resolve().parent.parent
#: Seconds for the interpreter to print where it hangs.
LAST_WORDS = 10

#: What would change what a suite does.
_IGNORED = ("DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE", "PYTHONWARNINGS", "PYTEST_ADDOPTS")


@dataclass(frozen=True)
class Run:
    suite: Suite
    labels: tuple[str, ...]
    #: ``OPTIONS["pool"]``; ``None`` for Django's own engine.
    pool: Mapping[str, Any] | None
    #: Where to keep the outcome; what is printed goes beside it.
    file: Path

    @classmethod
    def of(cls, suite: Suite, on: str, mode: str, labels: tuple[str, ...] | None = None) -> Run:
        """A run of the suite's own labels, unless others are given."""
        part = "" if labels is None else "-part"
        outputs = cache() / "output"
        outputs.mkdir(exist_ok=True)
        words = re.sub(r"\W+", "-", mode).strip("-")
        chosen = suite.labels if labels is None else labels
        return cls(
            suite, chosen, MODES.get(mode), outputs / f"{suite.name}{part}-{on}-{words}.json"
        )

    @property
    def output(self) -> Path:
        return self.file.with_suffix(".txt")

    def on(self, server: Server) -> Outcome:
        original = unpacked(self.suite.requirement)
        with tempfile.TemporaryDirectory() as directory:
            # A copy: tests leave files, by which others would fail or be missing in the next run.
            source = Path(directory) / original.name
            shutil.copytree(original, source, symlinks=True)
            report = Path(directory) / "report"
            report.touch()
            with self.output.open("wb") as file:
                process = subprocess.Popen(  # noqa: S603 - a suite, with arguments of our own
                    self.suite.command(source, self.labels),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=self.suite.directory(source),
                    env=self._environment(server, report, source),
                    start_new_session=True,
                )
                status = _wait(process, self.suite.patience)
            outcome = Outcome.read(
                report.read_text(encoding="utf-8"),
                server.drop_leftovers(),
                status=status,
                labels=[*self.labels],
                versions=_versions(source, server),
            )
        outcome.save(self.file)
        return outcome

    def again(self, whole: Outcome, tests: tuple[str, ...], server: Server) -> Outcome:
        """Run some of the tests alone, and correct the outcome of all."""
        if not tests:
            return whole
        alone = replace(self, labels=tests, file=self.file.with_suffix(".alone.json"))
        corrected = whole.corrected(alone.on(server))
        corrected.save(self.file)
        return corrected

    def remembered(self) -> Outcome | None:
        """The outcome of the last run of the same, if that was of the same tests."""
        outcome = Outcome.load(self.file)
        return outcome if outcome is not None and outcome.labels == [*self.labels] else None

    def _environment(self, server: Server, report: Path, source: Path) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if key not in _IGNORED}
        # A user that sets it means another checkout's engine. The suite's own code is in the
        # current directory, or comes with its script, or is found last.
        paths = (os.environ.get("PYTHONPATH"), str(ROOT), str(source))
        return {
            **inherited,
            **self.suite.environment(server.databases["default"]),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONFAULTHANDLER": "1",
            DATABASES: json.dumps(server.databases),
            POOL: json.dumps(self.pool),
            FILE: str(report),
        }


def _wait(process: subprocess.Popen[bytes], patience: float) -> int:
    """Until it ends; then nothing is left of what it started."""
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # Prints the stacks of all threads.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS)
        return -signal.SIGABRT
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _versions(source: Path, server: Server) -> list[str]:
    """A suite's own first: its source distribution has it in its name."""
    suite = source.name.replace("_", "-")
    others = (f"django-{django.__version__}", f"Python {platform.python_version()}")
    return list(dict.fromkeys([suite, *others, server.version]))
