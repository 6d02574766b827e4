"""What one examination has found."""

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    #: It does not apply here.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """In a sentence what was found, and what to do about it, if anything."""

    outcome: Outcome
    text: str
    advice: str = ""


def ok(text: str) -> Finding:
    return Finding(Outcome.OK, text)


def warning(text: str, advice: str) -> Finding:
    return Finding(Outcome.WARNING, text, advice)


def failure(text: str, advice: str) -> Finding:
    return Finding(Outcome.FAILURE, text, advice)


def skipped(text: str) -> Finding:
    return Finding(Outcome.SKIPPED, text)
