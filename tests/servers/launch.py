"""A web server in a process of its own, and what the database server sees of it."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from testproject.cluster import DATABASE, USER, Cluster

from .project import apache

ROOT = Path(__file__).resolve().parents[2]
#: Children of ``multiprocessing``, which granian's workers are, run none before 3.13.
CHILDREN_RUN_EXIT_HOOKS = sys.version_info >= (3, 13)
WSGI = "tests.servers.project.wsgi:application"
ASGI = "tests.servers.project.asgi:application"
#: Bound for whatever is waited for, in seconds.
PATIENCE = 20.0
#: What granian says when it has to kill its worker, because that does not end: about one
#: time in forty if it is stopped in the middle of a request, whatever the application.
_KILLS_WORKER = "Killing worker-1 after it refused to gracefully stop"


@dataclass(frozen=True)
class Kind:
    """How one server is started; ``{port}`` and ``{directory}`` stand for what it may use."""

    name: str
    command: tuple[str, ...]
    #: The packages that it needs.
    needs: tuple[str, ...] = ()
    #: Tells what it lacks besides; empty if it can be started.
    lacks: Callable[[], str] = str
    is_async: bool = False
    #: Processes that serve requests, each with a pool of its own.
    workers: int = 1
    #: Connections that it needs besides: a parent's, which never serves.
    extra: int = 0
    #: Whether it lets requests end before it does.
    is_graceful: bool = False
    #: Not with gevent, whose greenlets share the thread that asyncio's loop is found by.
    has_async_views: bool = True
    #: Without them there is no goodbye: the system closes the sockets. uvicorn ends itself
    #: with the signal that it was sent, so nothing runs at its exit.
    runs_exit_hooks: bool = True
    #: What it says of its own accord, and would alarm us otherwise.
    usual: str = "$^"
    #: What it says when it kills a worker, which does not close its connections then.
    kill: str = "$^"
    stop_signal: signal.Signals = signal.SIGTERM
    environment: tuple[tuple[str, str], ...] = ()


def gunicorn(*options: str) -> tuple[str, ...]:
    return (
        "gunicorn", WSGI, "--bind", "127.0.0.1:{port}", "--no-control-socket",
        "--graceful-timeout", "10", *options,
    )  # fmt: skip


RUNSERVER = Kind(
    "runserver",
    ("django", "runserver", "--noreload", "--settings", "tests.servers.project.settings",
     "127.0.0.1:{port}"),
    stop_signal=signal.SIGINT,  # As Ctrl-C; it does not handle SIGTERM.
    environment=(("DJANGO_RUNSERVER_HIDE_WARNING", "true"),),
)  # fmt: skip
THREADED = Kind("threaded", ("tests.servers.project.threaded", "{port}"))
GTHREAD = Kind("gthread", gunicorn("--threads", "8"), ("gunicorn",), is_graceful=True)
GEVENT = Kind(
    "gevent",
    gunicorn("--worker-class", "gevent"),
    ("gunicorn", "gevent"),
    has_async_views=False,
    is_graceful=True,
)
PRELOAD = Kind(
    "preload",
    gunicorn("--threads", "8", "--workers", "2", "--preload"),
    ("gunicorn",),
    workers=2,
    extra=1,
    environment=(("PROJECT_QUERIES_AT_IMPORT", "1"),),
    is_graceful=True,
)
UVICORN = Kind(
    "uvicorn",
    ("uvicorn", ASGI, "--port", "{port}", "--lifespan", "off", "--timeout-graceful-shutdown", "5"),
    ("uvicorn",),
    is_async=True,
    runs_exit_hooks=False,
    is_graceful=True,
)
GRANIAN_WSGI = Kind(
    "granian-wsgi",
    ("granian", "--interface", "wsgi", "--port", "{port}", "--blocking-threads", "8",
     "--workers-kill-timeout", "5", WSGI),
    ("granian",),
    runs_exit_hooks=CHILDREN_RUN_EXIT_HOOKS,
    usual="spawning up to 8 Python threads",
    kill=_KILLS_WORKER,
    is_graceful=True,
)  # fmt: skip
GRANIAN_ASGI = Kind(
    "granian-asgi",
    ("granian", "--interface", "asginl", "--port", "{port}", "--workers-kill-timeout", "5", ASGI),
    ("granian",),
    is_async=True,
    runs_exit_hooks=CHILDREN_RUN_EXIT_HOOKS,
    kill=_KILLS_WORKER,
    is_graceful=True,
)
DAPHNE = Kind("daphne", ("daphne", "-p", "{port}", ASGI), ("daphne",), is_async=True)

WAITRESS = Kind(
    "waitress",
    ("waitress", "--listen", "127.0.0.1:{port}", "--threads", "8", WSGI),
    ("waitress",),
    usual="Task queue depth",
    stop_signal=signal.SIGINT,  # It does not handle SIGTERM.
)
#: It forks after it has loaded the application, as PRELOAD does, and does not tell Python so.
UWSGI = Kind(
    "uwsgi",
    ("tests.servers.project.uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", WSGI,
     "--master", "--processes", "2", "--enable-threads", "--threads", "8", "--die-on-term",
     "--disable-logging"),
    ("pyuwsgi",),
    workers=2,
    extra=1,
    # Its workers do; its master, which has a connection from the import, ends without them.
    runs_exit_hooks=False,
    usual="running uWSGI as root",
    environment=(("PROJECT_QUERIES_AT_IMPORT", "1"),),
)  # fmt: skip
UWSGI_WITH_HOOKS = replace(
    UWSGI, name="uwsgi-with-hooks", command=(*UWSGI.command, "--py-call-uwsgi-fork-hooks")
)
MOD_WSGI = Kind(
    "mod_wsgi",
    ("tests.servers.project.apache", "{port}", "{directory}"),
    lacks=apache.lacks,
    workers=2,
)
HYPERCORN = Kind(
    "hypercorn",
    ("hypercorn", "--bind", "127.0.0.1:{port}", ASGI),
    ("hypercorn",),
    is_async=True,
    usual="continuing without Lifespan support",
)

SYNC = (
    RUNSERVER,
    THREADED,
    GTHREAD,
    GEVENT,
    PRELOAD,
    GRANIAN_WSGI,
    WAITRESS,
    UWSGI,
    UWSGI_WITH_HOOKS,
    MOD_WSGI,
)
ASYNC = (UVICORN, GRANIAN_ASGI, DAPHNE, HYPERCORN)

#: Whatever a server says of its own accord has none of these words.
_TROUBLE = re.compile(r"Traceback|Exception|Error\b|Warning|WARN|ERROR|CRITICAL|django_connmgr")


@dataclass(frozen=True)
class Reply:
    status: int
    text: str


class Account:
    """A role of the database server for one web server.

    Its connection limit is exact, as no counting from outside is: one connection too many,
    at any moment, is refused, and the refusal is in the log. So is every connection that
    ended without a goodbye.
    """

    def __init__(self, cluster: Cluster, limit: int) -> None:
        self.cluster = cluster
        #: Where the server is to be found: a pooler may be before it.
        self.port = cluster.port
        self.name = f"web_{secrets.token_hex(4)}"
        self.password = secrets.token_urlsafe(12)
        self._admin = psycopg.connect(
            host=cluster.host, port=cluster.port, user=USER, password=cluster.password,
            dbname=DATABASE, autocommit=True,
        )  # fmt: skip
        for statement in (
            f"CREATE ROLE {self.name} LOGIN PASSWORD '{self.password}' CONNECTION LIMIT {limit}",
            f"ALTER ROLE {self.name} SET log_min_messages = 'debug1'",
        ):
            self._admin.execute(statement)
        self._log_start = cluster.log.stat().st_size

    def count(self) -> int:
        row = self._admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [self.name]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def is_running(self, sql: str) -> bool:
        """Whether a statement that begins with ``sql`` is being executed."""
        row = self._admin.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE usename = %s AND state = 'active' AND starts_with(query, %s)",
            [self.name, sql],
        ).fetchone()
        assert row is not None
        return int(row[0]) > 0

    def log(self) -> str:
        with self.cluster.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def close(self) -> None:
        self._admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [self.name],
        )
        self._admin.execute(f"DROP ROLE {self.name}")
        self._admin.close()


def project_environment(account: Account, settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a process that runs the project."""
    database = {
        "HOST": account.cluster.host, "PORT": account.port, "NAME": DATABASE,
        "USER": account.name, "PASSWORD": account.password,
    }  # fmt: skip
    # What the test run itself is under is not for the servers, whose own warnings would come
    # to light.
    mine = ("PYTHONDEVMODE", "PYTHONWARNINGS")
    return {
        **{name: value for name, value in os.environ.items() if name not in mine},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "tests.servers.project.settings",
        "PROJECT_DATABASE": json.dumps(database),
        **{f"PROJECT_{name.upper()}": json.dumps(value) for name, value in settings.items()},
    }


class WebServer:
    """A running server of one kind, on our project."""

    def __init__(
        self,
        kind: Kind,
        account: Account,
        settings: Mapping[str, Any],
        trouble: str | None = None,
    ) -> None:
        self.kind = kind
        self.trouble = trouble
        self.account = account
        self.port = _free_port()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.directory = tempfile.TemporaryDirectory(prefix="cm-")
        environment = project_environment(account, settings)
        environment.update(kind.environment)
        names = {"port": self.port, "directory": self.directory.name}
        command = [argument.format(**names) for argument in kind.command]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    # Talking to it

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def get(self, path: str) -> Reply:
        with contextlib.closing(self.connect()) as client:
            client.request("GET", f"/{path}", headers={"Connection": "close"})
            response = client.getresponse()
            return Reply(response.status, response.read().decode())

    def get_many(self, *paths: str) -> list[Reply]:
        """All at once."""
        with ThreadPoolExecutor(len(paths)) as executor:
            return list(executor.map(self.get, paths))

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """A response that is not read to its end; leaving the block hangs up."""
        with contextlib.closing(self.connect()) as client:
            client.request("GET", f"/{path}", headers={"Connection": "close"})
            with contextlib.closing(client.getresponse()) as response:
                yield response

    def send_and_leave(self, path: str, leaves: Callable[[], bool] = lambda: True) -> None:
        """Ask, and hang up without waiting for the answer, as soon as ``leaves()``."""
        with socket.create_connection(("127.0.0.1", self.port)) as line:
            line.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert eventually(leaves)

    def stats(self) -> dict[str, Any]:
        reply = self.get("stats/")
        assert reply.status == 200, reply
        numbers: dict[str, Any] = json.loads(reply.text)
        return numbers

    def settled(self) -> Counter[str]:
        """The numbers of all processes together, when none has anything leased any more.

        A response is complete for its reader just before the request is for the server.
        """
        settled: dict[int, dict[str, Any]] = {}

        def look() -> bool:
            stats = self.stats()
            settled[stats["pid"]] = stats
            return len(settled) == self.kind.workers and not any(
                numbers["leased"] + numbers["warm"] + numbers["connecting"] + numbers["maintenance"]
                for numbers in settled.values()
            )

        assert eventually(look), f"{settled}\n{self.output()}"
        return sum(map(Counter, settled.values()), Counter())

    # Its life

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.output()
            try:
                return self.get("stats/").status == 200
            except OSError:
                return False

        assert eventually(is_ready), self.output()

    def output(self) -> str:
        """What it wrote so far."""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def stop(self) -> None:
        """End it as its supervisor would, then look at what is left: ask nothing of it after."""
        if not self._output.closed:
            self.process.send_signal(self.kind.stop_signal)
            try:
                self.process.wait(PATIENCE)
                output = self.output()
            finally:
                self.kill()
            self._examine(output)

    def kill(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()
        self.directory.cleanup()

    def _examine(self, output: str) -> None:
        # What the database server saw first.
        account, kind = self.account, self.kind
        assert eventually(lambda: account.count() == 0), "connections are left"
        log = account.log()
        assert "too many connections for role" not in log, log
        if not re.search(kind.kill, output):
            # Of a session that was idle, it says so only to those who want to know everything.
            assert f"{'' if kind.runs_exit_hooks else 'LOG:  '}unexpected EOF" not in log, log
            assert "Connection reset" not in log, log
        if self.trouble is not None:
            assert self.trouble in output, output
            return
        trouble = [
            line
            for line in output.splitlines()
            if _TROUBLE.search(line) and not re.search(f"{kind.usual}|{kind.kill}", line)
        ]
        assert not trouble, output


Server = TypeVar("Server", bound=WebServer)


@contextlib.contextmanager
def serving(
    cluster: Cluster,
    kind: Kind,
    max_size: int = 4,
    server_class: Callable[..., Server] = WebServer,  # type: ignore[assignment]
    **settings: Any,
) -> Iterator[Server]:
    """A server for the length of a block, then stopped and examined.

    ``settings``: ``pool`` options beside ``max_size``. ``trouble`` is what it is expected to
    write about.
    """
    require(*kind.needs)
    if reason := kind.lacks():
        miss(reason)
    pool = {"max_size": max_size, **settings.pop("pool", {})}
    trouble = settings.pop("trouble", None)
    account = Account(cluster, max_size * kind.workers + kind.extra)
    try:
        server = server_class(kind, account, {"pool": pool, **settings}, trouble)
        try:
            server.wait_until_ready()
            yield server
            server.stop()
        finally:
            server.kill()
    finally:
        account.close()


def require(*packages: str) -> None:
    """Skip without them, at home."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        miss(f"{', '.join(missing)} not installed: pip install --group servers")


def miss(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def eventually(condition: Callable[[], bool]) -> bool:
    """Look until it is so; false if it is not within ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
