"""The socket of a process: what it answers, and what no client can do to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_connmgr.inspection import conversation, door
from django_connmgr.inspection.door import MOST_CLIENTS, Door, listen
from django_connmgr.inspection.wire import (
    MOST_ANSWER,
    MOST_REQUEST,
    NotUnderstood,
    encode_answer,
    encode_request,
)

from .helpers import PATIENCE


def no_chore() -> float:
    return float("inf")


class House:
    """A door with a thread that waits at it, as the background thread does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rings = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.door = Door(listen(path), path, self.find, no_chore)
        self._is_open = True
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def find(self, command: str, arguments: dict[str, Any]) -> tuple[Callable[[], bytes], bool]:
        if command == "echo":
            return lambda: encode_answer(arguments), False
        if command == "long":
            return lambda: encode_answer({"long": "x" * (MOST_ANSWER - 100)}), False
        if command == "wait":
            return self._wait, True
        raise NotUnderstood(f"There is no command {command!r}.")

    def _wait(self) -> bytes:
        assert self.may_go_on.wait(PATIENCE)
        return encode_answer({"waited": True})

    def _live(self) -> None:
        while self._is_open:
            self.door.wait(PATIENCE)
            self.rings.release()
        self.door.close()

    def close(self) -> None:
        self.may_go_on.set()
        self._is_open = False
        self.door.ring()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def call(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(PATIENCE)
        line.connect(os.fspath(self.path))
        return line

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.exchange(encode_request(command, arguments))

    def exchange(self, request: bytes) -> dict[str, Any]:
        with self.call() as line:
            line.sendall(request)
            return answer_from(line)


def answer_from(line: socket.socket) -> dict[str, Any]:
    received = b""
    while chunk := line.recv(1 << 20):
        received += chunk
    answer: dict[str, Any] = json.loads(received)
    return answer


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "test.sock")
    yield made
    made.close()
    assert not made.path.exists()


def test_a_request_is_answered(house: House) -> None:
    assert house.ask("echo", number=7) == {"number": 7}


def test_a_request_may_come_in_pieces(house: House) -> None:
    with house.call() as line:
        for byte in encode_request("echo", {"number": 7}):
            line.sendall(bytes([byte]))
        assert answer_from(line) == {"number": 7}


def test_an_answer_may_be_longer_than_the_socket_s_buffer(house: House) -> None:
    assert len(house.ask("long")["long"]) == MOST_ANSWER - 100


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"hello\n", "no JSON"),
        (b"[]\n", "no JSON object"),
        (b"{}\n", "A request is"),
        (b"\xff\xfe\n", "no JSON"),
        (b'{"command": "echo", "arguments": 7}\n', "A request is"),
        (b'{"command": "dance"}\n', "no command 'dance'"),
        (b"[" * 4000 + b"\n", "no JSON"),
        (b"x" * (MOST_REQUEST + 1), f"at most {MOST_REQUEST} bytes"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(house: House, request_: bytes, words: str) -> None:
    assert words in house.exchange(request_)["error"]


def test_ringing_wakes_the_thread_that_waits(house: House) -> None:
    for _ in range(3):
        house.door.ring()
        assert house.rings.acquire(timeout=PATIENCE)


def test_no_ring_is_lost_while_clients_are_served(house: House) -> None:
    stop = threading.Event()

    def chat() -> None:
        while not stop.is_set():
            house.ask("echo")

    thread = threading.Thread(target=chat)
    thread.start()
    for _ in range(200):
        house.door.ring()
        assert house.rings.acquire(timeout=PATIENCE)
    stop.set()
    thread.join(PATIENCE)


def test_a_deed_that_waits_keeps_no_other_client_waiting(house: House) -> None:
    with house.call() as line:
        line.sendall(encode_request("wait", {}))
        assert house.ask("echo", number=1) == {"number": 1}
        house.may_go_on.set()
        assert answer_from(line) == {"waited": True}


def test_a_client_that_leaves_while_its_deed_is_done_harms_nothing(house: House) -> None:
    with house.call() as line:
        line.sendall(encode_request("wait", {}))
        house.ask("echo")
    house.may_go_on.set()
    assert house.ask("echo", number=1) == {"number": 1}


def test_only_so_many_deeds_are_done_at_once(house: House) -> None:
    lines = [house.call() for _ in range(door.MOST_DEEDS)]
    for line in lines:
        line.sendall(encode_request("wait", {}))
    # The door takes requests in the order of their coming.
    assert "too much at once" in house.ask("wait")["error"]
    house.may_go_on.set()
    for line in lines:
        assert answer_from(line) == {"waited": True}
        line.close()
    assert house.ask("wait") == {"waited": True}


def test_slow_clients_are_turned_out_and_fast_ones_served_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "PATIENCE", 0.2)
    silent, partial, deaf = house.call(), house.call(), house.call()
    partial.sendall(b'{"command"')
    deaf.sendall(encode_request("long", {}))
    assert house.ask("echo", number=1) == {"number": 1}
    assert silent.recv(1) == b""
    assert partial.recv(1) == b""
    received = 0
    while chunk := deaf.recv(1 << 20):  # What the socket's buffers took, and no more.
        received += len(chunk)
        time.sleep(0.05)
    for line in (silent, partial, deaf):
        line.close()
    assert house.ask("echo", number=2) == {"number": 2}


def test_more_clients_than_may_come_are_turned_away(house: House) -> None:
    lines = [house.call() for _ in range(MOST_CLIENTS)]
    for line in lines:
        line.sendall(b"{")
    with house.call() as line:
        assert line.recv(1) == b""
    for line in lines:
        line.close()

    def is_served() -> bool:
        try:
            return house.ask("echo", number=1) == {"number": 1}
        except (OSError, ValueError):
            return False

    deadline = time.monotonic() + PATIENCE
    while not is_served():
        assert time.monotonic() < deadline


#: What hostile clients send: malformed, oversized, truncated, and what has a long answer.
_ATTACKS: list[bytes] = [
    b"\x00\xff" * 500 + b"\n",
    b"x" * (MOST_REQUEST * 2),
    encode_request("echo", {})[:-1],
    encode_request("long", {}),
    b'{"command": "echo", "arguments": ' + b"[" * 3000 + b"\n",
    b"",
]


def attack(house: House, number: int) -> None:
    """One client, which leaves at once or only when it is turned out."""
    try:
        with house.call() as line:
            line.sendall(_ATTACKS[number % len(_ATTACKS)])
            if number % 5 == 0:
                line.recv(100)
    except OSError:
        pass  # Turned away.


def test_a_thousand_hostile_clients_leave_it_as_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack_often(times: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(conversation, "PATIENCE", 0.02)
            for number in range(times):
                attack(house, number)
            deadline = time.monotonic() + PATIENCE
            while house.door._conversations and time.monotonic() < deadline:
                time.sleep(0.01)

    attack_often(100)
    tracemalloc.start()
    try:
        house.ask("echo")
        before, _ = tracemalloc.get_traced_memory()
        attack_often(1000)
        assert house.ask("echo", number=1) == {"number": 1}
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000


def test_what_goes_wrong_with_one_client_does_not_end_the_thread(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(door, "is_allowed", fail)
        with house.call() as line:
            assert line.recv(1) == b""
    assert house.ask("echo", number=1) == {"number": 1}
    assert "A client could not be served." in caplog.text


def test_a_process_without_descriptors_to_give_knocks_again_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "DEAF", 0.01)
    failures = [OSError(24, "Too many open files")]
    accept = house.door._listener.accept

    class Poor:
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(listener, name)

    listener, house.door._listener = house.door._listener, Poor()  # type: ignore[assignment]
    assert house.ask("echo", number=1) == {"number": 1}
    assert not failures


@pytest.mark.skipif(os.getuid() != 0, reason="Only root can be another user.")
def test_another_user_s_process_is_refused(house: House) -> None:
    """Also where that user can reach the socket."""
    for directory in [house.path.parent, *house.path.parent.parents][:-1]:
        if directory.stat().st_uid == os.getuid() and directory != Path("/tmp"):
            directory.chmod(0o755)
    house.path.chmod(0o666)
    script = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "line = socket.socket(socket.AF_UNIX)\n"
        "line.connect(sys.argv[1])\n"
        'line.sendall(b\'{"command": "echo"}\\n\')\n'
        "print(line.recv(100))\n"
    )
    done = subprocess.run(  # noqa: PLW1510 - its output says more than an exception
        [sys.executable, "-c", script, os.fspath(house.path)],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    # It was hung up on: before it had sent all, or before it read an answer.
    assert done.stdout.strip() in {"", "b''"}, done.stderr
    assert house.ask("echo", number=1) == {"number": 1}
