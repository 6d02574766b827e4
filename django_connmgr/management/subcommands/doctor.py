"""Prove on the real databases, within seconds, that pooling works here."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management import CommandError
from django.db import connections

from ...doctor.finding import Finding, Outcome
from ...doctor.round import Chart, examine, find_aliases
from .outcome import Failed
from .tables import wrap

_WIDTH = max(map(len, Outcome))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--alias", action="append", help="Only this alias; repeatable.")
    parser.add_argument("--timeout", type=float, default=5.0, help="Seconds for each acquire; 5.")
    parser.add_argument("--json", action="store_true", help="Print all of it, as JSON.")


def run(options: dict[str, Any]) -> str:
    aliases = options["alias"] or find_aliases()
    for alias in aliases:
        if alias not in connections:
            raise CommandError(f"There is no alias {alias!r}; there are: {', '.join(connections)}.")
        if not hasattr(connections[alias], "borrower"):
            raise CommandError(f"The ENGINE of {alias!r} is none of django_connmgr's.")
    if not aliases:
        raise CommandError("No alias of DATABASES has an ENGINE of django_connmgr's.")
    charts = list(examine(aliases, options["timeout"]))
    text = _as_json(charts) if options["json"] else "\n\n".join(map(_describe, charts))
    if any(chart.has_failed for chart in charts):
        raise Failed(text)
    return text


def _as_json(charts: list[Chart]) -> str:
    return json.dumps({chart.label: [asdict(one) for one in chart.findings] for chart in charts})


def _describe(chart: Chart) -> str:
    return "\n".join([chart.label, *(line for one in chart.findings for line in _lines(one))])


def _lines(finding: Finding) -> list[str]:
    indent = " " * (_WIDTH + 4)
    first, *others = wrap(finding.text, indent)
    advice = wrap(f"-> {finding.advice}", indent) if finding.advice else []
    return [f"  {finding.outcome.value.ljust(_WIDTH)}  {first.strip()}", *others, *advice]
