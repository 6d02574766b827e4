"""Whether a replica is one, takes no writes, and is not too far behind its primary."""

from django.db import Error

from ..app_settings import app_settings
from .finding import Finding, failure, ok, skipped, warning
from .patient import Patient

_AGE = "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float"
_PAUSED = "SELECT pg_is_wal_replay_paused()"
_RECEIVER = "SELECT count(*) FROM pg_stat_wal_receiver"


def examine_standby(patient: Patient, primary: Patient) -> Finding:
    """One server, compared with its primary."""
    if not patient.is_postgresql:
        return skipped("How far a replica is behind is known of PostgreSQL only.")
    lease = patient.acquire()
    try:
        report = patient.driver.report_of(lease.connection.raw)
        if report is None or not report.is_standby:
            return failure(
                "This replica takes writes: it is no standby, or was promoted.",
                "Correct OPTIONS['hosts'], or make it follow the primary again.",
            )
        if patient.ask(lease, _PAUSED):
            text = "This replica is stale: its replay is paused."
            return failure(text, "Run SELECT pg_wal_replay_resume() there.")
        age = patient.ask(lease, _AGE) or 0.0
        has_receiver = bool(patient.ask(lease, _RECEIVER))
    finally:
        lease.release()
    return _judge(_bytes_behind(report, primary), age, has_receiver=has_receiver)


def _judge(behind: int | None, age: float, *, has_receiver: bool) -> Finding:
    settings = app_settings()
    if behind is None:
        return warning(
            "How far it is behind is not known, because the primary does not tell.",
            "See what is found of the primary.",
        )
    if behind > settings.MAX_LAG_BYTES or (behind and age > settings.MAX_LAG_SECONDS):
        return failure(
            f"This replica is stale: {behind:,} bytes behind, its last change {age:.0f} s old.",
            "See why it does not follow: the log of that server, its network and its load.",
        )
    if not has_receiver:
        return warning(
            f"This replica follows by archived files only, {behind:,} bytes behind.",
            "Let it stream (primary_conninfo), or reads there may be old.",
        )
    return ok(f"A standby that takes no writes, {behind:,} bytes behind.")


def _bytes_behind(report: object, primary: Patient) -> int | None:
    position = getattr(report, "position", None)
    try:
        lease = primary.acquire()
    except (Error, primary.driver.error):
        return None
    try:
        of_primary = primary.driver.report_of(lease.connection.raw)
    finally:
        lease.release()
    if position is None or of_primary is None or of_primary.position is None:
        return None
    behind: int = of_primary.position.lsn - position.lsn
    return max(behind, 0)
