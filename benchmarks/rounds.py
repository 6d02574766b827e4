"""Turns of the contestants, interleaved: A B C A B C, each in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .contestants import CONTESTANTS, Contestant, Missing, program_missing
from .placement import Placement, placed, why_impossible
from .scenario import Outcome, Scenario
from .server import VARIABLE, Address, await_disconnects

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Results:
    """All turns of one scenario in one placement."""

    scenario: Scenario
    placement: Placement
    #: By contestant, a turn for each round: what it came to, or why it failed.
    turns: dict[str, list[Outcome | str]] = field(default_factory=dict)
    #: Contestants that did not take part, and why.
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The scenario's, with the placement where it is not the scenario's first one."""
        return name_in(self.scenario, self.placement)

    def values(self, contestant: str, metric: str) -> list[float | None]:
        """One for each round; ``None`` where the turn failed or had no such number."""
        return [
            turn.measures.get(metric) if isinstance(turn, Outcome) else None
            for turn in self.turns.get(contestant, [])
        ]

    def failure(self, contestant: str) -> str | None:
        """Why its first failed turn failed."""
        return next((t for t in self.turns.get(contestant, []) if isinstance(t, str)), None)


def name_in(scenario: Scenario, placement: Placement) -> str:
    """What the scenario is called in reports when it runs there."""
    is_first = placement is scenario.placements[0]
    return scenario.name if is_first else f"{scenario.name}-{placement}"


Play = Callable[[Scenario, Contestant], Outcome | str]


def play(
    scenario: Scenario,
    placement: Placement,
    *,
    peers: Sequence[str] | None,
    rounds: int,
    turn: Play,
    on_turn: Callable[[str], object] = lambda name: None,  # noqa: ARG005
) -> Results:
    """Every contestant that can take part, ``rounds`` times. See ``wanted()`` for ``peers``."""
    results = Results(scenario, placement)
    takes_part = []
    for contestant in wanted(scenario, peers):
        reason = why_missing(scenario, contestant, placement)
        if reason is None:
            takes_part.append(contestant)
            results.turns[contestant.name] = []
        else:
            results.missing[contestant.name] = reason
    for _ in range(rounds):
        for contestant in takes_part:
            results.turns[contestant.name].append(turn(scenario, contestant))
            on_turn(contestant.name)
    return results


def wanted(scenario: Scenario, peers: Sequence[str] | None) -> list[Contestant]:
    """Ours, and those of the others that are in ``peers``; all if that is ``None``."""
    contestants = [CONTESTANTS[name] for name in scenario.contestants]
    return [c for c in contestants if c.is_ours or peers is None or c.name in peers]


def why_missing(scenario: Scenario, contestant: Contestant, placement: Placement) -> str | None:
    """Why it cannot take part, and what to do about it; ``None`` if it can."""
    if (reason := why_impossible(placement)) is not None:
        return reason
    for program in scenario.programs:
        reason = program_missing(program)
        if reason is not None:
            return reason
    try:
        contestant.versions()
    except Missing as missing:
        return str(missing)
    return None


def in_fresh_process(server: Address | None, placement: Placement, *, is_quick: bool) -> Play:
    """Makes turns that run ``benchmarks.worker``."""
    environment = dict(os.environ)
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    environment.pop("PYTHONDEVMODE", None)
    if server is not None:
        environment[VARIABLE] = server.as_text()

    def turn(scenario: Scenario, contestant: Contestant) -> Outcome | str:
        command = [sys.executable, "-m", "benchmarks.worker", scenario.name, contestant.name]
        command += ["--quick"] * is_quick + ["--green"] * scenario.is_green
        with placed(placement):
            outcome = _run(command, environment, scenario.time_limit)
        if server is not None and scenario.needs_server:
            await_disconnects(server)
        return outcome

    return turn


def _run(command: list[str], environment: dict[str, str], time_limit: float) -> Outcome | str:
    # Files and no pipes, which the children of a turn would inherit and keep open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # So that the processes it started end with it.
        )
        try:
            code = process.wait(time_limit)
        except subprocess.TimeoutExpired:
            return f"took longer than {time_limit:.0f} s"
        finally:
            _end_session(process)
        for file in (output, errors):
            file.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
        if code or not lines:
            return f"exit status {code}: {last_error(errors.read().decode(errors='replace'))}"
    try:
        answer = json.loads(lines[-1])
    except ValueError:
        return f"did not answer in JSON: {lines[-1][:200]}"
    series = {
        name: [(float(x), float(y)) for x, y in curve] for name, curve in answer["series"].items()
    }
    return Outcome(answer["measures"], series)


def last_error(text: str) -> str:
    """The message at the end of a traceback, in one line."""
    message: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith(("  ", "Traceback")):
            message.clear()
        else:
            message.append(line.strip())
    return " ".join(message)[:500] or "no message"


def _end_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
