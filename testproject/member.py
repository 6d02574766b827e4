"""One server of a replication, and what can befall it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from .cluster import USER, Cluster
from .overrides import apply
from .processes import children_of, freeze, is_stopped, thaw
from .waiting import TIMEOUT, TookTooLong, until
from .wal import as_number, as_text, end_of_record


class Member(Cluster):
    """The primary or a standby: which of them it is may change.

    A verb returns when its effect can be seen, unless it says that a wait is left to the caller.
    Verbs and questions that use SQL fail after five seconds on a server that hangs.
    """

    def __init__(self, name: str, *, root: Path, version: str, settings: Mapping[str, str]) -> None:
        super().__init__(
            version=version,
            settings={**settings, "cluster_name": f"'{name}'"},
            directory=root / name,
        )
        self.name = name
        #: The server that it follows, even while it is cut off. A primary has none.
        self.upstream: Member | None = None
        #: Parameters that verbs have set. A healthy server has none.
        self.overrides: dict[str, str] = {}

    def __repr__(self) -> str:
        follows = f", follows {self.upstream.name}" if self.upstream else ""
        return f"<Member {self.name}, port {self.port}{follows}>"

    # Questions

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection in autocommit mode, known to no pool."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=20,
            application_name="harness",
        )

    def ask(self, query: str, *parameters: object, database: str = "postgres") -> Any:
        """The first value of the first row, from a connection of its own."""
        row = self.row(query, *parameters, database=database)
        return row[0] if row else None

    def row(self, query: str, *parameters: object, database: str = "postgres") -> tuple[Any, ...]:
        """The first row, or an empty one, from a connection of its own."""
        with self.connect(database) as connection:
            return connection.execute(query, parameters or None).fetchone() or ()

    def is_running(self) -> bool:
        """Whether it has a postmaster, be it one that hangs."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.postmaster(), 0)
            return True
        return False

    def is_standby(self) -> bool:
        """Whether it is in recovery, as it says itself."""
        return bool(self.ask("SELECT pg_is_in_recovery()"))

    def is_connected(self) -> bool:
        """Whether its upstream sends it WAL as it is written. Both ends must say so."""
        return self._receives() and self._is_served("state = 'streaming'")

    def timeline(self) -> int:
        """The timeline that it writes or, on a standby that is connected, receives."""
        if self.is_standby():
            return int(self.ask("SELECT received_tli FROM pg_stat_wal_receiver"))
        return int(self.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[:8], 16)

    def position(self) -> int:
        """How far a standby of this server can replay now. Writes nothing."""
        inserted, segment = self.row(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, setting::bigint "
            "FROM pg_settings WHERE name = 'wal_segment_size'"
        )
        return end_of_record(inserted, segment=segment)

    def replayed(self) -> int:
        """How far this standby has replayed."""
        return int(self.ask("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint"))

    def has_left(self, upstream: Member) -> bool:
        """Whether this standby has WAL from behind the point where the other server's timeline
        began, so that it cannot follow it.
        """
        first_part = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
        history = upstream.ask(f"SELECT pg_read_file('pg_wal/' || {first_part} || '.history')")
        ours = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
        return as_number(self.ask(f"SELECT {ours}::text")) > as_number(history.split("\t")[-2])

    # Waits

    def await_replayed(self, position: int | None = None, timeout: float = TIMEOUT) -> None:
        """Wait until it has replayed so far; by default, to where its upstream is now."""
        goal = self._followed().position() if position is None else position
        until(
            lambda: self.replayed() >= goal,
            lambda: (
                f"{self.name} replays up to {as_text(goal)}. "
                f"It is at {as_text(self.replayed())}; its replay is "
                f"{self.ask('SELECT pg_get_wal_replay_pause_state()')}; "
                f"it is{'' if self._receives() else ' not'} connected."
            ),
            timeout,
        )

    def await_connected(self, timeout: float = TIMEOUT) -> None:
        """Wait until its upstream sends it WAL as it is written."""
        until(
            self.is_connected,
            lambda: f"{self.name} connects to {self._followed().name}. Its log is {self.log}.",
            timeout,
        )

    def await_disconnected(self, timeout: float = TIMEOUT) -> None:
        """Wait until neither it nor its upstream knows of a connection between them."""
        until(
            lambda: not self._receives() and not self._is_served("true"),
            lambda: f"{self.name} disconnects from {self._followed().name}.",
            timeout,
        )

    # Verbs

    def kill(self) -> None:
        """Stop at once, as in a crash; ``start`` recovers. One that hangs is woken for it."""
        self.unhang()
        self.stop("immediate")

    def hang(self, *, sessions: bool = True) -> None:
        """SIGSTOP to the postmaster: connections are accepted and never answered.

        Its children are stopped too: sessions, replay, and what sends and receives WAL.
        With ``sessions=False`` they all go on, and only new connections hang.
        """
        freeze([self.postmaster()])
        if sessions:
            freeze(children_of(self.postmaster()))

    def unhang(self) -> None:
        """SIGCONT to the postmaster and its children: they go on where they were stopped."""
        if self.is_running() and is_stopped(self.postmaster()):
            thaw([*children_of(self.postmaster()), self.postmaster()])

    def pause_replay(self) -> None:
        """Go on to receive WAL, and show nothing of it."""
        self.ask("SELECT pg_wal_replay_pause()")
        until(
            lambda: self.ask("SELECT pg_get_wal_replay_pause_state()") == "paused",
            lambda: f"{self.name} pauses its replay",
        )

    def resume_replay(self) -> None:
        """Replay what was received meanwhile, and go on. ``await_replayed`` waits for it."""
        self.ask("SELECT pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        """Show each commit so many seconds after the primary made it; 0: at once."""
        self.override("recovery_min_apply_delay", f"{seconds * 1000:.0f}ms" if seconds else None)

    def cut(self) -> None:
        """Disconnect a standby from its upstream until ``mend``. It goes on to serve queries."""
        self.override("primary_conninfo", f"host={self.host} port=1")
        # While its replay is paused or delayed, a standby takes no notice of the setting.
        receiver = self.ask("SELECT pid FROM pg_stat_wal_receiver")
        if receiver:
            with contextlib.suppress(ProcessLookupError):
                os.kill(receiver, signal.SIGTERM)
        self.await_disconnected()

    def mend(self) -> None:
        """Undo ``cut``; ``await_connected`` waits for it.

        A standby whose replay is paused or delayed reconnects after that.
        """
        self.override("primary_conninfo", None)

    def switch_wal(self) -> None:
        """Begin another segment of WAL, unless nothing was written in the present one."""
        self.ask("SELECT pg_switch_wal()")

    def settings_of_role(self) -> dict[str, str]:
        """What ``ALTER SYSTEM`` has set on a healthy server."""
        if self.upstream is None:
            return {}
        host, port = self.upstream.host, self.upstream.port
        return {
            "primary_conninfo": f"host={host} port={port} user={USER} password={self.password}",
            "primary_slot_name": self.name,
        }

    def override(self, name: str, value: str | None) -> None:
        """Set a parameter that a reload can change, until it is healed; None: as it was."""
        self.overrides.pop(name, None)
        if value is not None:
            self.overrides[name] = value
        self._apply()

    def override_nothing(self) -> None:
        """Set all parameters as they were, also those that a test has set by itself."""
        self.overrides.clear()
        self._apply()

    # Roles

    def end_recovery(self) -> None:
        """Turn a standby into a primary, on the next timeline. Its upstream notices nothing."""
        if not self.ask("SELECT pg_promote(true, 10)"):
            raise TookTooLong(f"Not within 10 s: {self.name} is promoted. Its log is {self.log}.")
        self.upstream = None
        self.override_nothing()

    def follow(self, upstream: Member) -> None:
        """Stream from another server. Keeps data and sessions; ``await_connected`` waits for it."""
        upstream._reserve(self.name)
        self.upstream = upstream
        self.override_nothing()

    def clone(self, upstream: Member) -> None:
        """Become a standby of another server by a fresh base backup, and start."""
        if self.is_running():
            self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        upstream._reserve(self.name, afresh=True)
        self.upstream = upstream
        self.binaries, self.password = upstream.binaries, upstream.password
        self.overrides.clear()
        self._own(self.directory)
        self._run(
            "pg_basebackup", "--pgdata", self.data, "--slot", self.name,
            "--checkpoint", "fast", "--no-sync", "--no-manifest",
            environment=upstream._address(),
        )  # fmt: skip
        self._configure()
        (self.data / "standby.signal").touch()
        lines = [f"{name} = '{value}'\n" for name, value in self.settings_of_role().items()]
        (self.data / "postgresql.auto.conf").write_text("".join(lines))
        self.start()
        self.await_connected()

    def await_connected_or_clone(self, timeout: float = 3) -> None:
        """Clone a standby that does not connect, because it has more than its upstream, or
        because its upstream has removed what it lacks.
        """
        try:
            self.await_connected(timeout)
        except TookTooLong:
            self.clone(self._followed())

    # Helpers

    def _followed(self) -> Member:
        if self.upstream is None:
            raise ValueError(f"{self.name} is a primary: it follows no other server.")
        return self.upstream

    def _receives(self) -> bool:
        return self.is_running() and bool(self.ask("SELECT count(*) FROM pg_stat_wal_receiver"))

    def _is_served(self, condition: str) -> bool:
        senders = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND "
        upstream = self._followed()
        return upstream.is_running() and bool(upstream.ask(senders + condition, self.name))

    def _reserve(self, standby: str, *, afresh: bool = False) -> None:
        """Have a slot that keeps WAL for a standby of this name."""
        known = "FROM pg_replication_slots WHERE slot_name = %s"
        if afresh:
            self.ask(f"SELECT pg_drop_replication_slot(slot_name) {known}", standby)
        if not self.ask(f"SELECT count(*) {known}", standby):
            self.ask("SELECT pg_create_physical_replication_slot(%s, true)", standby)

    def _apply(self) -> None:
        wanted = {**self.settings_of_role(), **self.overrides}
        apply(self.connect, wanted, server=self.name)
