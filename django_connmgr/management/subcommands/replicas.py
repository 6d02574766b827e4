"""Ask each replica whether it follows its primary, and how far it is behind."""

from argparse import ArgumentParser
from typing import Any, NamedTuple

from django.db import Error, connections

from ..._pool.host import Report
from ...app_settings import app_settings
from ...clusters import find_clusters
from .tables import as_table

_COLUMNS = ("alias", "server", "state", "bytes", "seconds", "replayed", "sessions")
# For how long it has replayed nothing, and the sessions of this user. The first tells how far it
# is behind at most, and only if it is behind: on an idle primary it grows.
_MORE = """
SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float,
    (SELECT count(*) FROM pg_stat_activity
    WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend')
"""


class Answer(NamedTuple):
    """What one server said."""

    report: Report
    age: float | None
    sessions: int


def add_arguments(parser: ArgumentParser) -> None:
    """It takes none."""


def run(options: dict[str, Any]) -> str:  # noqa: ARG001
    rows = [row for primary in find_clusters() for row in _rows_of(primary)]
    if not rows:
        return "No alias of DATABASES has OPTIONS['replica_of'], so there are no replicas."
    return as_table([_COLUMNS, *rows])


def _rows_of(primary: str) -> list[tuple[str, ...]]:
    answer = _ask(primary, connections[primary].settings_dict)
    rows = [_row_of_primary(primary, answer)]
    for alias in find_clusters()[primary]:
        reader: Any = getattr(connections[alias], "reader", None)
        if reader is None:
            rows.append((alias, "", "its settings are wrong: run manage.py check", *[""] * 4))
            continue
        rows.extend(
            (alias, host.name, *_cells(_ask(alias, settings), answer))
            for host, settings in reader.role.settings.items()
        )
    return rows


def _row_of_primary(primary: str, answer: Answer | str) -> tuple[str, ...]:
    if isinstance(answer, str):
        return (primary, "", answer, *[""] * 4)
    report = answer.report
    state = "standby" if report.is_standby else "primary"
    position = "" if report.position is None else str(report.position)
    return (primary, "", state, "", "", position, str(answer.sessions))


def _cells(answer: Answer | str, primary: Answer | str) -> tuple[str, ...]:
    """What is told of one replica."""
    if isinstance(answer, str):
        return (answer, *[""] * 4)
    report = answer.report
    replayed = "" if report.position is None else str(report.position)
    if not report.is_standby:
        return ("promoted", "", "", replayed, str(answer.sessions))
    if isinstance(primary, str) or report.position is None or primary.report.position is None:
        return ("up", "", "", replayed, str(answer.sessions))
    behind = max(primary.report.position.lsn - report.position.lsn, 0)
    seconds = (answer.age or 0.0) if behind else 0.0
    settings = app_settings()
    is_lagging = behind > settings.MAX_LAG_BYTES or seconds > settings.MAX_LAG_SECONDS
    state = "lagging" if is_lagging else "up"
    return (state, f"{behind:,}", f"{seconds:.1f}", replayed, str(answer.sessions))


def _ask(alias: str, settings: dict[str, Any]) -> Answer | str:
    """What a server answers, or why it does not."""
    # A wrapper apart: the caller's may be in a transaction.
    wrapper: Any = type(connections[alias])(settings, alias)
    try:
        with wrapper.cursor() as cursor:
            pool = wrapper.connection_pool
            report = None if pool is None else pool.driver.report_of(wrapper.connection)
            if report is None:
                return "unknown"
            cursor.execute(_MORE)
            return Answer(report, *cursor.fetchone())
    except Error:
        return "down"
    finally:
        wrapper.close()
