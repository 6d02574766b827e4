"""Asks the processes of this host, all at once, each within a time."""

import os
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from ..project import project_name
from .directory import Found, file_name, find_sockets, remove_if_left_over
from .wire import MOST_ANSWER, NotUnderstood, decode_answer, encode_request

#: How long a process may take to answer what it knows, in seconds.
TIMEOUT = 1.0


@dataclass(frozen=True)
class Reply:
    """What one process said."""

    pid: int
    project: str
    answer: dict[str, Any] = field(default_factory=dict)
    #: Why there is no answer; empty if there is one.
    error: str = ""

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What it lists under ``kind``; what is no record is left out."""
        found = self.answer.get(kind)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def process(self) -> dict[str, Any]:
        """What it says of itself."""
        found = self.answer.get("process")
        return found if isinstance(found, dict) else {}

    @property
    def role(self) -> str:
        """What it runs."""
        return str(self.process.get("role", ""))


def ask(
    command: str,
    arguments: dict[str, Any] | None = None,
    *,
    pids: set[int] | None = None,
    all_projects: bool = False,
    timeout: float = TIMEOUT,
) -> list[Reply]:
    """Have every process of this project answer (or those of ``pids``), by their numbers.

    One that does not answer within ``timeout`` seconds has an ``error``; one that is dead has no
    reply, and its socket is removed.
    """
    project = file_name(project_name())
    found = [
        one
        for one in find_sockets()
        if (all_projects or one.project == project) and (pids is None or one.pid in pids)
    ]
    request = encode_request(command, arguments or {})
    with selectors.DefaultSelector() as selector:
        replies = _Round(selector, request, timeout).run(found)
    return sorted(replies, key=lambda reply: reply.pid)


class _Round:
    """One question to many, and what has come of the answers."""

    def __init__(self, selector: selectors.BaseSelector, request: bytes, timeout: float) -> None:
        self._selector = selector
        self._request = request
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._replies: list[Reply] = []

    def run(self, found: list[Found]) -> list[Reply]:
        for one in found:
            self._begin(one)
        while self._selector.get_map():
            ready = self._selector.select(max(self._deadline - time.monotonic(), 0.0))
            for key, _ in ready:
                self._receive(key)
            if time.monotonic() >= self._deadline:
                break
        for key in list(self._selector.get_map().values()):
            self._end(key, b"", f"It does not answer within {self._timeout:g} s.")
        return self._replies

    def _begin(self, one: Found) -> None:
        line = socket.socket(socket.AF_UNIX)
        line.setblocking(False)
        try:
            line.connect(os.fspath(one.path))
            line.send(self._request)  # It fits any buffer.
        except (ConnectionRefusedError, FileNotFoundError):
            line.close()
            remove_if_left_over(one)
        except OSError as error:
            line.close()
            self._replies.append(Reply(one.pid, one.project, error=_why(error)))
        else:
            self._selector.register(line, selectors.EVENT_READ, (one, bytearray()))

    def _receive(self, key: selectors.SelectorKey) -> None:
        line: Any = key.fileobj
        _, received = key.data
        try:
            chunk = line.recv(64 * 1024)
        except OSError as error:
            self._end(key, b"", _why(error))
            return
        received += chunk
        if not chunk:
            self._end(key, bytes(received), "It hung up; try again.")
        elif len(received) > MOST_ANSWER:
            self._end(key, b"", f"It answers more than {MOST_ANSWER} bytes.")

    def _end(self, key: selectors.SelectorKey, received: bytes, otherwise: str) -> None:
        line: Any = key.fileobj
        one, _ = key.data
        self._selector.unregister(line)
        line.close()
        answer: dict[str, Any] = {}
        if received:
            try:
                answer = decode_answer(received)
                otherwise = str(answer.get("error", ""))
            except NotUnderstood as error:
                otherwise = str(error)
        self._replies.append(Reply(one.pid, one.project, answer, otherwise))


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "This user may not ask it."
    if isinstance(error, BlockingIOError):
        return "Too many clients ask it; try again."
    return f"It cannot be asked: {error.strerror or error}."
