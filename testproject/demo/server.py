"""Starts the serving process, asks for its numbers, and stops it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ..settings import BASE_DIR
from .database import DemoError

#: How long the process may take to end when it is asked to, in seconds.
STOP_TIMEOUT = 10
#: How long the last requests may take to give their connections back, in seconds.
SETTLE_TIMEOUT = 10


class Server:
    """The shop, served by a process of its own for the length of a ``with`` block."""

    host = "127.0.0.1"
    port = 0

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testproject.demo.worker"],
            cwd=BASE_DIR,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C goes to this process only, which then stops that one.
        )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(STOP_TIMEOUT)
            log = self.log()
            self.stop()
            raise DemoError(f"The shop could not be served:\n{log}")
        self.port = int(line)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._log.close()

    def log(self) -> str:
        """The end of what the process wrote to its standard error."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    def pool(self) -> dict[str, Any]:
        """The numbers of the process's pool, once its last request is over.

        A client has its answer a moment before the server gives the connection back.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while True:
            stats = self._get_json("/pool/")
            states = ("leased", "warm", "connecting", "maintenance", "waiting")
            busy = sum(stats[state] for state in states)
            if not busy or time.monotonic() > deadline:
                return stats
            time.sleep(0.05)

    def _get_json(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.load(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"The shop is no longer served: {error}\n{self.log()}") from error
        finally:
            connection.close()
        return answer
