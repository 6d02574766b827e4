"""Examines databases, one after the other."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ..clusters import primary_of
from ..conf import parse_pool_options
from .finding import Finding, Outcome, failure, ok, skipped, warning
from .patient import Patient
from .pooling import EXAMINATIONS
from .server import examine_pooler, examine_reach, examine_room
from .standby import examine_standby

Examination = Callable[[Patient], Finding]

#: What says what is wrong anyway, line by line.
_QUIET = ("django_connmgr.pool", "django_connmgr.backends")


@dataclass
class Chart:
    """All that was found of one database."""

    label: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        return any(finding.outcome is Outcome.FAILURE for finding in self.findings)


def examine(aliases: list[str], timeout: float) -> Iterator[Chart]:
    """A chart of each alias, and of each server of an alias that has several."""
    with _quiet():
        for alias in aliases:
            if primary_of(alias) is None:
                yield _examine_alias(alias, timeout)
            else:
                yield from _examine_replicas(alias, timeout)


def find_aliases() -> list[str]:
    """Those with an engine of ours."""
    return [alias for alias in connections if hasattr(connections[alias], "borrower")]


def _examine_alias(alias: str, timeout: float) -> Chart:
    chart = Chart(alias, [_examine_settings(alias)])
    if not chart.has_failed and chart.findings[0].outcome is not Outcome.SKIPPED:
        with closing(Patient(alias, connections.settings[alias], alias, timeout)) as patient:
            examinations = (examine_pooler, *EXAMINATIONS, examine_room)
            _examine(chart, patient, examinations)
    return chart


def _examine_replicas(alias: str, timeout: float) -> Iterator[Chart]:
    settings = _examine_settings(alias)
    reader: Any = getattr(connections[alias], "reader", None)
    primary_alias = str(primary_of(alias))
    if settings.outcome is Outcome.FAILURE or reader is None:
        advice = "Run 'manage.py check' and mend what it finds."
        wrong = failure("Its settings are wrong, so that it cannot be used.", advice)
        yield Chart(alias, [settings if settings.outcome is Outcome.FAILURE else wrong])
        return
    primary = Patient(primary_alias, connections.settings[primary_alias], primary_alias, timeout)
    with closing(primary):
        for host, own in reader.role.settings.items():
            chart = Chart(f"{alias}@{host.name}")
            with closing(Patient(alias, own, chart.label, timeout)) as patient:
                _examine(chart, patient, (lambda one: examine_standby(one, primary), examine_room))
            yield chart


def _examine(chart: Chart, patient: Patient, examinations: tuple[Examination, ...]) -> None:
    chart.findings.append(examine_reach(patient))
    for examination in examinations:
        if chart.findings[-1].outcome is Outcome.FAILURE and len(chart.findings) <= 2:
            chart.findings.append(skipped("The rest was not examined."))
            return
        try:
            chart.findings.append(examination(patient))
        except Exception as error:
            name = examination.__name__.removeprefix("examine_")
            said = " ".join(str(error).split())
            text = f"The examination of its {name} failed: {type(error).__name__}: {said}"
            chart.findings.append(failure(text, "See the log of the server."))


def _examine_settings(alias: str) -> Finding:
    """What can be known without a server."""
    settings, wrapper = connections.settings[alias], connections[alias]
    try:
        if not wrapper.is_poolable():  # type: ignore[attr-defined]
            return skipped("There is no pool: it is turned off, or the database is in memory.")
    except ImproperlyConfigured:
        pass  # Told below.
    _, problems = parse_pool_options(settings["OPTIONS"].get("pool", True))
    errors = [problem for problem in problems if problem.kind != "ignored"]
    if errors:
        texts = " ".join(problem.message for problem in errors)
        return failure(texts, " ".join(problem.hint for problem in errors))
    if settings.get("CONN_MAX_AGE"):
        return failure("CONN_MAX_AGE is set.", "Remove it: max_lifetime bounds connections.")
    if problems:
        return warning(problems[0].message, problems[0].hint)
    return ok("The settings are in order.")


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _QUIET]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was_disabled in zip(loggers, before, strict=True):
            logger.disabled = was_disabled
