"""Asking a PostgreSQL server how far its log has come."""

from typing import Any

from ..._pool.host import Report
from ..._pool.position import Position, end_of_record

# A primary's timeline is in the name of the file that it writes: what ``pg_control_checkpoint()``
# says is out of date until its next checkpoint. A standby's is the one that it receives, which
# only members of ``pg_read_all_stats`` may see, or has recovered to, whichever is later.
QUERY = """
SELECT
    standby,
    pg_wal_lsn_diff(lsn, '0/0')::bigint,
    CASE WHEN NOT standby THEN (pg_walfile_name_offset(lsn)).file_offset END,
    CASE WHEN standby THEN greatest(
        (SELECT received_tli FROM pg_stat_wal_receiver),
        (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
        (SELECT timeline_id FROM pg_control_checkpoint())
    ) ELSE ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int END
FROM (
    SELECT pg_is_in_recovery() AS standby,
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_insert_lsn() END AS lsn
    OFFSET 0
) AS here
"""


def as_report(row: tuple[Any, ...]) -> Report:
    """What a row of ``QUERY`` says, be it of texts as libpq has them or of a driver's values."""
    standby, lsn, offset, timeline = row
    if lsn is None or timeline is None:  # A standby that has replayed nothing yet.
        return Report(standby in {True, "t"}, None)
    end = int(lsn) if offset is None else end_of_record(int(lsn), int(offset))
    return Report(standby in {True, "t"}, Position(int(timeline), end))
