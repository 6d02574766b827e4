"""What the servers do at each verb of the harness."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from testproject.cluster import DATABASE
from testproject.health import is_healthy
from testproject.processes import is_stopped
from testproject.replication import Replication
from testproject.waiting import TookTooLong, until

from .notes import await_received, has_note, note


def healthy(replication: Replication) -> list[str]:
    """The names of the servers that are healthy."""
    first, *others = replication.servers
    position = first.position()
    found = [first.name] if is_healthy(first, None) else []
    return found + [other.name for other in others if is_healthy(other, first, position)]


# The servers


def test_a_commit_reaches_both_standbys(replication: Replication) -> None:
    note(replication.primary, "started")
    replication.await_replayed()
    assert replication.names == ["primary", "replica1", "replica2"]
    assert [replica.is_standby() for replica in replication.replicas] == [True, True]
    assert [has_note(replica, "started") for replica in replication.replicas] == [True, True]


def test_a_standby_that_was_stopped_says_so_to_its_sessions_and_catches_up(
    replication: Replication,
) -> None:
    standby = replication.replicas[0]
    with standby.connect() as session:
        standby.stop()
        with pytest.raises(errors.AdminShutdown):
            session.execute("SELECT 1")
    assert not standby.is_running()
    note(replication.primary, "while stopped")
    standby.start()
    standby.await_replayed()
    assert has_note(standby, "while stopped")


def test_a_killed_primary_keeps_its_commits_and_its_standbys_come_back(
    replication: Replication,
) -> None:
    primary, standby, _ = replication.servers
    note(primary, "before the crash")
    with primary.connect() as session:
        primary.kill()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    standby.await_disconnected()
    primary.start()
    standby.await_connected()
    assert has_note(primary, "before the crash")


def test_a_server_that_hangs_answers_on_no_session(replication: Replication) -> None:
    standby = replication.replicas[0]
    with standby.connect() as session:
        standby.hang()
        assert standby.is_running()
        assert is_stopped(standby.postmaster())
        assert is_stopped(session.info.backend_pid)
        with pytest.raises(errors.ConnectionTimeout):
            psycopg.connect(host=standby.host, port=standby.port, connect_timeout=2)
        standby.unhang()
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert standby.is_connected()


def test_a_hanging_postmaster_can_leave_its_sessions_alone(replication: Replication) -> None:
    standby = replication.replicas[0]
    with standby.connect() as session:
        standby.hang(sessions=False)
        assert is_stopped(standby.postmaster())
        assert session.execute("SELECT 1").fetchone() == (1,)
        standby.unhang()
    assert not is_stopped(standby.postmaster())


def test_a_server_that_hangs_can_be_killed(replication: Replication) -> None:
    standby = replication.replicas[0]
    standby.hang()
    standby.kill()
    assert not standby.is_running()


# Replay


def test_a_paused_standby_shows_what_it_received_only_when_resumed(
    replication: Replication,
) -> None:
    primary, standby, other = replication.servers
    standby.pause_replay()
    note(primary, "while paused")
    other.await_replayed()
    await_received(standby, primary.position())
    assert not has_note(standby, "while paused")
    assert has_note(other, "while paused")
    standby.resume_replay()
    standby.await_replayed()
    assert has_note(standby, "while paused")


def test_a_delayed_standby_shows_what_it_received_only_when_the_delay_ends(
    replication: Replication,
) -> None:
    primary, standby, _ = replication.servers
    note(primary, "before the delay")
    standby.await_replayed()
    standby.delay(3600)
    note(primary, "delayed")
    await_received(standby, primary.position())
    assert not has_note(standby, "delayed")
    standby.delay(0)
    standby.await_replayed()
    assert has_note(standby, "delayed")


@pytest.mark.parametrize("paused", [False, True])
def test_a_standby_that_is_cut_off_receives_nothing_until_it_is_mended(
    replication: Replication, paused: bool
) -> None:
    primary, standby, other = replication.servers
    if paused:
        standby.pause_replay()
    standby.cut()
    assert not standby.is_connected()
    note(primary, f"cut, paused: {paused}")
    other.await_replayed()
    assert not has_note(standby, f"cut, paused: {paused}")
    standby.mend()
    standby.resume_replay()
    standby.await_connected()
    standby.await_replayed()
    assert has_note(standby, f"cut, paused: {paused}")


def test_standbys_replay_up_to_an_idle_primary_that_has_switched_segments(
    replication: Replication,
) -> None:
    note(replication.primary, "in this segment")
    replication.primary.switch_wal()
    replication.await_replayed()
    (inserted,) = replication.primary.row(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    )
    assert [replica.replayed() < inserted for replica in replication.replicas] == [True, True]
    assert inserted - replication.primary.position() == 40


def test_a_recovery_conflict_cancels_the_queries_of_one_standby(replication: Replication) -> None:
    first, second = replication.replicas
    with (
        first.connect(DATABASE) as session,
        second.connect(DATABASE) as spared,
        ThreadPoolExecutor() as threads,
    ):
        query = threads.submit(session.execute, "SELECT pg_sleep(50)")
        spared.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        spared.execute("SELECT 1")
        until(
            lambda: first.ask("SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep.50'"),
            lambda: "the query runs",
        )
        replication.conflict(first)
        with pytest.raises(errors.SerializationFailure):
            query.result()
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert spared.execute("SELECT 1").fetchone() == (1,)


# Roles


def test_a_promoted_standby_writes_on_a_new_timeline_and_the_old_primary_goes_on(
    replication: Replication,
) -> None:
    old, standby, other = replication.servers
    before = old.timeline()
    replication.promote(standby)
    note(standby, "on the new primary")
    note(old, "on the old primary")
    other.await_replayed()
    assert replication.primary is standby
    assert replication.replicas == [old, other]
    assert (old.timeline(), standby.timeline()) == (before, before + 1)
    assert has_note(other, "on the old primary")
    assert not has_note(other, "on the new primary")


def test_a_standby_that_is_repointed_keeps_its_sessions(replication: Replication) -> None:
    old, standby, other = replication.servers
    with other.connect(DATABASE) as session:
        old.stop()
        replication.promote(standby)
        replication.repoint(other)
        note(standby, "after the fail-over")
        other.await_replayed()
        found = session.execute("SELECT 1 FROM note WHERE text = 'after the fail-over'")
        assert found.fetchall() == [(1,)]


def test_a_standby_that_has_more_than_the_new_primary_is_cloned_from_it(
    replication: Replication,
) -> None:
    old, standby, other = replication.servers
    standby.cut()
    note(old, "lost by the fail-over")
    other.await_replayed()
    old.kill()
    replication.promote(standby)
    replication.repoint(other)
    assert other.is_connected()
    assert not has_note(other, "lost by the fail-over")


def test_a_demoted_primary_follows_the_new_one(replication: Replication) -> None:
    old, standby, _ = replication.servers
    with pytest.raises(ValueError, match="Promote another server before primary is demoted"):
        replication.demote(old)
    replication.promote(standby)
    replication.demote(old)
    note(standby, "after the demotion")
    old.await_replayed()
    assert old.is_standby()
    assert old.timeline() == standby.timeline()
    assert has_note(old, "after the demotion")


# Waits


def test_a_wait_that_takes_too_long_says_what_is_the_matter(replication: Replication) -> None:
    primary, standby, _ = replication.servers
    with pytest.raises(TookTooLong, match=r"^Not within 0 s: replica1 disconnects from primary\.$"):
        standby.await_disconnected(timeout=0)
    standby.pause_replay()
    standby.cut()
    note(primary, "never seen")
    with pytest.raises(TookTooLong, match=r"replica1 connects to primary\. Its log is .*/replica1"):
        standby.await_connected(timeout=0)
    with pytest.raises(TookTooLong, match=r"at \w+/\w+; its replay is paused; it is not connected"):
        standby.await_replayed(timeout=0)
    with pytest.raises(ValueError, match="primary is a primary: it follows no other server"):
        primary.await_replayed()


# Health


def break_replay(replication: Replication) -> None:
    replication.replicas[0].pause_replay()
    replication.replicas[0].delay(3600)
    replication.replicas[1].cut()


def break_processes(replication: Replication) -> None:
    replication.primary.kill()
    replication.replicas[0].stop()
    replication.replicas[1].hang()


def break_settings(replication: Replication) -> None:
    for server in replication.servers:
        server.override("work_mem", "1MB")
        with server.connect() as session:
            session.execute("ALTER SYSTEM SET statement_timeout = 1000")


def switch_over(replication: Replication) -> None:
    old, standby, other = replication.servers
    replication.promote(standby)
    replication.demote(old)
    replication.repoint(other)
    standby.stop()


@pytest.mark.parametrize("damage", [break_replay, break_processes, break_settings, switch_over])
def test_healing_brings_back_what_was_broken(
    replication: Replication, damage: Callable[[Replication], None]
) -> None:
    assert healthy(replication) == ["primary", "replica1", "replica2"]
    damage(replication)
    replication.heal()
    assert healthy(replication) == ["primary", "replica1", "replica2"]
    assert replication.primary is replication.servers[0]


# The guard

#: A child that was forked keeps the pipe open by which the guard learns of its parent's end.
STARTER = """
import json, os, signal
from testproject.replication import running_replication

with running_replication(standbys=1) as replication:
    child = os.fork()
    if not child:
        signal.pause()
    pids = [server.postmaster() for server in replication.servers]
    print(json.dumps([child, str(replication.directory), pids]), flush=True)
    signal.pause()
"""


def test_the_servers_end_when_the_process_that_started_them_is_killed(
    replication: Replication,
) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as starter:
        assert starter.stdout is not None
        child, directory, pids = json.loads(starter.stdout.readline())
        try:
            starter.kill()
            until(
                lambda: not (Path(directory).exists() or any(map(is_alive, pids))),
                lambda: f"{directory} and the servers {pids} are gone",
            )
        finally:
            os.kill(child, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
