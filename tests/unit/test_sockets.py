from __future__ import annotations

import socket

from django_connmgr.backends.sockets import is_readable


def test_a_deadline_that_has_passed_is_no_reason_to_wait_for_ever() -> None:
    """To ``poll()`` a negative timeout means none at all."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not is_readable(ours.fileno(), -0.001)
