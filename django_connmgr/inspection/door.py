"""Where clients come in: the background thread serves them while it waits for its bell."""

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from .conversation import Conversation
from .peer import is_allowed
from .wire import NotUnderstood, decode_request, encode_error

logger = logging.getLogger("django_connmgr.inspection")

#: As many clients are served at once; more are turned away.
MOST_CLIENTS = 16
#: As many deeds are done at once, each on a thread of its own while it lasts.
MOST_DEEDS = 4
#: For how many seconds no client is let in when there is no descriptor for one.
DEAF = 1.0

#: Answers a request: at once, if its second value is false, or on a thread that may wait.
Answer = Callable[[], bytes]
Find = Callable[[str, dict[str, object]], tuple[Answer, bool]]


class Door:
    """A listening socket, those who came in by it, and a bell. Nothing here waits for a client.

    Fields belong to the thread that waits, except that ``ring()`` writes to the waker, a pair of
    sockets that never blocks, and that ``_done`` is appended to.
    """

    def __init__(self, listener: socket.socket, path: Path, find: Find, chore: Callable[[], float]):
        self._listener, self._path, self._find, self._chore = listener, path, find, chore
        self._ear, self._clapper = socket.socketpair()
        self._conversations: set[Conversation] = set()
        #: Answers that were made on other threads.
        self._done: deque[tuple[Conversation, bytes]] = deque()
        self._deeds = 0
        self._selector = selectors.DefaultSelector()
        for line in (listener, self._ear, self._clapper):
            line.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, self._hear)
        self._selector.register(listener, selectors.EVENT_READ, self._let_in)
        self._heard = threading.Event()
        self._deaf_until = float("inf")

    def ring(self) -> None:
        """As ``Bell.ring()``: safe in finalisers and signal handlers."""
        with suppress(OSError):  # It rings already, or is gone.
            self._clapper.send(b"!")

    def wait(self, timeout: float) -> None:
        """Serve clients until it rings, or ``timeout`` seconds have passed."""
        deadline = time.monotonic() + timeout
        while True:
            pause = min(deadline, self._next_deadline()) - time.monotonic()
            pause = min(pause, self._do_chore())
            for key, _ in self._selector.select(max(pause, 0.0)):
                self._guard(key.data)
            while self._done:
                conversation, answer = self._done.popleft()
                self._deeds -= 1
                self._reply(conversation, answer)
            self._turn_out()
            self._hear_again()
            if self._heard.is_set() or time.monotonic() >= deadline:
                self._heard.clear()
                return

    def close(self) -> None:
        self.abandon()
        with suppress(OSError):
            self._path.unlink()

    def abandon(self) -> None:
        """Close what this process has of it. The other process that has it notices nothing."""
        lines = [one.line for one in self._conversations.copy()]
        for line in (self._listener, self._ear, self._clapper, *lines):
            line.close()
        self._selector.close()

    def _hear(self) -> None:
        with suppress(OSError):
            self._ear.recv(4096)
        self._heard.set()

    @staticmethod
    def _guard(act: Callable[[], None]) -> None:
        """What goes wrong with one client is not for the background thread to die of."""
        try:
            act()
        except Exception:
            logger.exception("A client could not be served.")

    def _do_chore(self) -> float:
        try:
            return self._chore()
        except Exception:
            logger.exception("What is done beside answering failed.")
            return float("inf")

    def _next_deadline(self) -> float:
        return min((one.deadline for one in self._conversations), default=self._deaf_until)

    def _hear_again(self) -> None:
        if self._deaf_until <= time.monotonic():
            self._deaf_until = float("inf")
            self._selector.register(self._listener, selectors.EVENT_READ, self._let_in)

    def _let_in(self) -> None:
        try:
            line, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # The client left.
        except OSError:
            # The process has no descriptor to give. The client still knocks: not at every moment.
            self._selector.unregister(self._listener)
            self._deaf_until = time.monotonic() + DEAF
            return
        is_welcome = False
        try:
            is_welcome = len(self._conversations) < MOST_CLIENTS and is_allowed(line)
        finally:
            if not is_welcome:
                line.close()
        if is_welcome:
            self._receive(line)

    def _receive(self, line: socket.socket) -> None:
        conversation = Conversation(line)
        self._conversations.add(conversation)
        advance = partial(self._advance, conversation)
        self._selector.register(line, selectors.EVENT_READ, advance)

    def _advance(self, conversation: Conversation) -> None:
        """Its client sent something, or takes more."""
        try:
            if conversation.is_answering():
                if conversation.send():
                    self._part(conversation)
                return
            request = conversation.receive()
            if request is not None:
                self._selector.unregister(conversation.line)
                self._serve(conversation, request)
            elif conversation.is_answering():
                self._await_writing(conversation)
        except BlockingIOError:
            pass
        except OSError:
            self._part(conversation)
        except Exception:
            self._part(conversation)
            raise

    def _serve(self, conversation: Conversation, request: bytes) -> None:
        try:
            answer, may_wait = self._find(*decode_request(request))
        except NotUnderstood as error:
            self._reply(conversation, encode_error(str(error)))
            return
        if not may_wait:
            self._reply(conversation, answer())
        elif self._deeds < MOST_DEEDS:
            self._deeds += 1
            self._begin(conversation, answer)
        else:
            self._reply(conversation, encode_error("It does too much at once; try again."))

    def _begin(self, conversation: Conversation, answer: Answer) -> None:
        def work() -> None:
            self._done.append((conversation, answer()))
            self.ring()

        try:
            threading.Thread(target=work, name="django-connmgr-deed", daemon=True).start()
        except RuntimeError:
            self._done.append((conversation, encode_error("It can start no thread.")))

    def _reply(self, conversation: Conversation, answer: bytes) -> None:
        conversation.answer(answer)
        self._await_writing(conversation)

    def _await_writing(self, conversation: Conversation) -> None:
        advance = partial(self._advance, conversation)
        with suppress(KeyError):
            self._selector.unregister(conversation.line)
        self._selector.register(conversation.line, selectors.EVENT_WRITE, advance)

    def _turn_out(self) -> None:
        """Clients that take too long."""
        now = time.monotonic()
        for conversation in [one for one in self._conversations if one.deadline < now]:
            self._part(conversation)

    def _part(self, conversation: Conversation) -> None:
        self._conversations.discard(conversation)
        with suppress(KeyError, ValueError):
            self._selector.unregister(conversation.line)
        conversation.line.close()


def listen(path: Path) -> socket.socket:
    """A socket that listens at ``path``, for this user alone; raises ``OSError``."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(MOST_CLIENTS)
    except BaseException:
        listener.close()
        raise
    return listener
