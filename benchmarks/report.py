"""A whole run: what the Markdown, the pictures and the JSON are made of."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from .machine import Machine
from .rounds import Results
from .scenario import Outcome
from .verdict import Status, Verdict, judge


@dataclass(frozen=True)
class Report:
    machine: Machine
    results: list[Results]
    seconds: float
    is_quick: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for results in self.results for verdict in judge(results)]

    def verdicts_with(self, status: Status) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.status is status]


def as_json(report: Report) -> str:
    """Every turn of every contestant, and every verdict."""
    return json.dumps(
        {
            "machine": dataclasses.asdict(report.machine),
            "seconds": report.seconds,
            "is_quick": report.is_quick,
            "scenarios": [_scenario_as_json(results) for results in report.results],
        },
        indent=1,
    )


def _scenario_as_json(results: Results) -> dict[str, Any]:
    return {
        "name": results.scenario.name,
        "placement": results.placement,
        "turns": {
            name: [_turn_as_json(turn) for turn in turns] for name, turns in results.turns.items()
        },
        "missing": results.missing,
        "verdicts": [dataclasses.asdict(verdict) for verdict in judge(results)],
    }


def _turn_as_json(turn: Outcome | str) -> dict[str, Any]:
    return {"failed": turn} if isinstance(turn, str) else dataclasses.asdict(turn)
