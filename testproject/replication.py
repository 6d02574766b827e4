"""A primary and its streaming standbys, for the demonstration, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cluster import DATABASE, find_binaries
from .guard import Guard
from .health import heal_primary, heal_standby
from .member import Member

SETTINGS = {
    "max_connections": "30",
    "shared_buffers": "16MB",
    # A commit is sent to the standbys at once; ``Cluster`` has it off.
    "synchronous_commit": "on",
    "max_wal_senders": "8",
    "max_replication_slots": "4",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
    # A standby that is further behind needs a fresh base backup.
    "max_slot_wal_keep_size": "256MB",
    "wal_retrieve_retry_interval": "100ms",
    # Nothing is written but what tests write.
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "wal_writer_delay": "10ms",
}


class Replication:
    """The servers, and what concerns more than one of them."""

    def __init__(
        self,
        *,
        version: str = "16",
        standbys: int = 2,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        find_binaries(version)  # Raises before there is anything to remove.
        self.directory = Path(tempfile.mkdtemp(prefix="connmgr-replication-"))
        self._guard = Guard(self.directory)
        self.servers = [
            Member(
                name,
                root=self.directory,
                version=version,
                settings={**SETTINGS, **(settings or {})},
            )
            for name in ["primary", *(f"replica{number}" for number in range(1, standbys + 1))]
        ]
        #: The first server, until another is promoted.
        self.primary = self.servers[0]

    @property
    def replicas(self) -> list[Member]:
        """All servers but the primary, also those that do not run."""
        return [server for server in self.servers if server is not self.primary]

    @property
    def names(self) -> list[str]:
        """The servers' names, which they keep for life."""
        return [server.name for server in self.servers]

    def create(self) -> None:
        """Initialise the primary, and clone the standbys from it at the same time."""
        self.primary._own(self.directory)
        self.primary.create()
        _at_once(lambda standby: standby.clone(self.primary), self.replicas)

    def destroy(self) -> None:
        """Stop all servers and remove their files."""
        self._guard.dismiss()

    def heal(self) -> None:
        """Have all servers run as after ``create``: resumed, mended, following the first one.

        What was written on another primary meanwhile may be lost.
        """
        first, *others = self.servers
        heal_primary(first)
        self.primary = first
        position = first.position()
        _at_once(lambda standby: heal_standby(standby, first, position), others)

    def await_replayed(self) -> None:
        """Wait until every replica that runs has replayed what the primary has written."""
        position = self.primary.position()
        for replica in self.replicas:
            if replica.is_running():
                replica.await_replayed(position)

    def promote(self, standby: Member) -> None:
        """Make it the primary. The old one goes on, and is followed, unless it was stopped:
        ``repoint`` and ``demote`` the others.
        """
        standby.end_recovery()
        self.primary = standby

    def repoint(self, standby: Member) -> None:
        """Have a standby follow a primary that was promoted.

        Its sessions live on, unless it has WAL that the primary lacks: then it is cloned.
        """
        if standby.has_left(self.primary):
            standby.clone(self.primary)
        else:
            standby.follow(self.primary)
            standby.await_connected_or_clone()

    def demote(self, server: Member) -> None:
        """Stop an old primary, and have it rejoin as a standby of the present one."""
        if server is self.primary:
            raise ValueError(f"Promote another server before {server.name} is demoted.")
        server.clone(self.primary)

    def conflict(self, standby: Member, *, database: str = DATABASE) -> None:
        """Cancel the queries of a database that a standby runs, by a recovery conflict.

        Rows are deleted on the primary and vacuumed away. An older transaction in the primary's
        database would keep them.
        """
        standby.override("max_standby_streaming_delay", "0")
        with self.primary.connect(database) as connection:
            connection.execute("CREATE TABLE short_lived AS SELECT generate_series(1, 100) n")
            connection.execute("DELETE FROM short_lived")
            connection.execute("VACUUM (TRUNCATE false) short_lived")
            connection.execute("DROP TABLE short_lived")
        standby.await_replayed()
        standby.override("max_standby_streaming_delay", None)


def _at_once(verb: Callable[[Member], None], members: list[Member]) -> None:
    with ThreadPoolExecutor() as threads:
        list(threads.map(verb, members))


@contextlib.contextmanager
def running_replication(
    *, version: str = "16", standbys: int = 2, settings: Mapping[str, str] | None = None
) -> Iterator[Replication]:
    """Servers for the length of a block."""
    replication = Replication(version=version, standbys=standbys, settings=settings)
    try:
        replication.create()
        yield replication
    finally:
        replication.destroy()
