"""Members of a replication brought back to health, whatever a test has done to them."""

from __future__ import annotations

from .member import Member
from .processes import is_stopped

_LOOK = """
SELECT pg_is_in_recovery(),
       pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint,
       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,
       (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'),
       (SELECT coalesce(json_object_agg(name, setting), '{}') FROM pg_file_settings
        WHERE sourcefile LIKE '%postgresql.auto.conf')
"""


def is_healthy(member: Member, upstream: Member | None, position: int = 0) -> bool:
    """Whether nothing has to be healed, after one query. ``position`` is the primary's."""
    if member.upstream is not upstream or not member.is_running() or member.overrides:
        return False
    if is_stopped(member.postmaster()):
        return False
    in_recovery, replayed, paused, connected, settings = member.row(_LOOK)
    if settings != member.settings_of_role():
        return False
    if upstream is None:
        return not in_recovery
    return bool(in_recovery and connected and not paused and replayed >= position)


def heal_primary(member: Member) -> None:
    """Have it run as a primary, with no setting overridden."""
    if is_healthy(member, None):
        return
    member.unhang()
    if not member.is_running():
        member.start()
    if member.is_standby():
        member.end_recovery()
    member.override_nothing()


def heal_standby(member: Member, upstream: Member, position: int) -> None:
    """Have it run as a standby of this server, connected, and beyond this position."""
    if is_healthy(member, upstream, position):
        return
    member.unhang()
    if member.upstream is not upstream:
        member.clone(upstream)
        return
    if not member.is_running():
        member.start()
    if not member.is_standby():
        member.clone(upstream)
        return
    member.follow(upstream)  # It has lost its slots if it was cloned itself.
    if member.ask("SELECT pg_is_wal_replay_paused()"):
        member.resume_replay()
    member.await_connected_or_clone()
    member.await_replayed(position)
