"""Real web servers, one process each, under ``wrk``."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from ..contestants import PoolSettings
from ..project import databases, environment
from ..scenario import Better, Metric, Outcome, Scenario, Stage, at_least, at_most
from ..server_connections import counting

_THREADS, _SIZE, _WARM_UP = 40, 4, 1.0
#: Seconds that a server may take to listen, and to end.
_SERVER_TIMEOUT = 20.0

_GUNICORN = (
    "gunicorn", "--worker-class=gthread", f"--threads={_THREADS}", "--keep-alive=60",
    "--graceful-timeout=1", "--bind=127.0.0.1:{port}", "--log-level=warning",
    "benchmarks.site:wsgi",
)  # fmt: skip
_UVICORN = (
    "uvicorn", "--host=127.0.0.1", "--port={port}", "--log-level=warning", "--no-access-log",
    "--timeout-graceful-shutdown=1", "benchmarks.site:asgi",
)  # fmt: skip


def _run(stage: Stage, command: tuple[str, ...], page: str) -> Outcome:
    with _serving(stage, command, page) as url:
        _wrk(url, _WARM_UP)  # Opens the connections that are kept open.
        began = time.monotonic()
        with counting(stage.server) as counts:
            requests, errors = _wrk(url, 2.0)
    return Outcome(
        {"requests": requests, "errors": errors, "connections": float(counts.peak)},
        {"connections": counts.since(began)},
    )


@contextlib.contextmanager
def _serving(stage: Stage, command: tuple[str, ...], page: str) -> Iterator[str]:
    port = _free_port()
    settings = PoolSettings(size=_SIZE)
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(port=port) for part in command)],
        env={**os.environ, **environment(databases(stage.contestant, stage.server, settings))},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )
    url = f"http://127.0.0.1:{port}/{page}/"
    try:
        _await(port, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_SERVER_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SERVER_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _wrk(url: str, seconds: float) -> tuple[float, float]:
    """Requests per second that succeeded, and the number of those that did not."""
    # wrk takes whole seconds only.
    duration = max(round(seconds), 1)
    done = subprocess.run(
        ["wrk", "--threads=1", f"--connections={_THREADS}", f"--duration={duration}s",
         "--timeout=30s", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return parse(done.stdout)


def parse(output: str) -> tuple[float, float]:
    """What ``wrk`` says: requests per second that succeeded, and how many did not."""
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s|m)", output)
    if total is None:
        raise ValueError(f"wrk says {output!r}")
    seconds = float(total[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[total[3]]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", output)
    failed = int(refused[1]) if refused else 0
    errors = failed + (sum(map(int, broken.groups())) if broken else 0)
    return (int(total[1]) - failed) / seconds, float(errors)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scenario(name: str, server: str, command: tuple[str, ...], page: str) -> Scenario:
    return Scenario(
        name=name,
        does=f"{server} serves 40 clients of `wrk`: a query of the ORM, 10 ms of other work, "
        "another query. Pools of 4, a tenth of the clients.",
        contestants=(
            "ours",
            "ours-transaction",
            "stock",
            "stock-persistent",
            "django-pool",
            "real-pool",
            "db-connection-pool",
        ),
        metrics=(
            Metric("requests", "per second", Better.MORE),
            Metric("errors"),
            Metric("connections", "at the peak"),
        ),
        targets=(
            at_least(0.95, "requests", of="stock-persistent"),
            at_most(_THREADS / 10, "connections"),
            at_least(1.5, "requests", of="django-pool"),
            at_most(0, "errors"),
        ),
        run=partial(_run, command=command, page=page),
        rounds=3,
        programs=("wrk",),
    )


SCENARIOS = (
    _scenario("http-gunicorn", "gunicorn (gthread, 40 threads)", _GUNICORN, "page"),
    _scenario("http-uvicorn", "uvicorn (ASGI, asynchronous views)", _UVICORN, "async-page"),
)
