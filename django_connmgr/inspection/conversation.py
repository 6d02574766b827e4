"""One client of this process: its request, and the answer. Nothing in it waits."""

import socket
import time
from contextlib import suppress

from .wire import MOST_REQUEST, encode_error

#: For how many seconds a client may take to send its request, or to fetch its answer.
PATIENCE = 2.0
_CHUNK = 64 * 1024


class Conversation:
    """A line that came in, or the answer that goes out, and until when."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        line.setblocking(False)
        self._request = b""
        self._answer = memoryview(b"")
        #: Until when the client may take; infinity while its answer is being made.
        self.deadline = time.monotonic() + PATIENCE

    def receive(self) -> bytes | None:
        """A whole line, once it came; ``None`` until then. Raises ``OSError`` at its end."""
        chunk = self.line.recv(MOST_REQUEST)
        if not chunk:
            raise ConnectionResetError("The client left before its request was whole.")
        self._request += chunk
        line, newline, _ = self._request.partition(b"\n")
        if newline:
            self.deadline = float("inf")
            return line
        if len(self._request) > MOST_REQUEST:
            self.answer(encode_error(f"A request has at most {MOST_REQUEST} bytes."))
        return None

    def answer(self, line: bytes) -> None:
        """Send this, as the client takes it."""
        self._request = b""
        self._answer = memoryview(line)
        self.deadline = time.monotonic() + PATIENCE

    def is_answering(self) -> bool:
        return bool(self._answer)

    def send(self) -> bool:
        """Send what the client takes right now; true when that was all. Raises ``OSError``."""
        with suppress(BlockingIOError):
            sent = self.line.send(self._answer[:_CHUNK])
            self._answer = self._answer[sent:]
        return not self._answer
