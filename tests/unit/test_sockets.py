from __future__ import annotations

import _thread
import socket
import sys
import threading

import pytest

from django_connmgr.backends.sockets import is_readable, watch


def test_a_deadline_that_has_passed_is_no_reason_to_wait_for_ever() -> None:
    """To ``poll()`` a negative timeout means none at all."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not is_readable(ours.fileno(), -0.001)


def test_a_watch_tells_of_bytes_and_of_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        has_arrived = watch(ours.fileno())
        assert has_arrived is not None
        assert not has_arrived()
        theirs.send(b"x")
        assert has_arrived()
        ours.recv(1)
        assert not has_arrived()
        theirs.close()
        assert has_arrived()


def test_a_watch_does_not_let_other_threads_run_meanwhile() -> None:
    """Or who looks would have to wait until it has the GIL back."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("there is no GIL to keep")
    ours, theirs = socket.socketpair()
    ran = threading.Event()
    interval = sys.getswitchinterval()
    with ours, theirs:
        has_arrived = watch(ours.fileno())
        assert has_arrived is not None
        # So another thread runs only when it is let.
        sys.setswitchinterval(60)
        try:
            _thread.start_new_thread(ran.set, ())
            for _ in range(100_000):
                has_arrived()
            has_let_go = ran.is_set()
        finally:
            sys.setswitchinterval(interval)
    assert not has_let_go
    assert ran.wait(10)
