"""Who is at the other end of a Unix socket."""

import os
import socket
import struct


def is_allowed(line: socket.socket) -> bool:
    """Whether it is a process of this user's, or root's. Where the system does not tell, it is.

    Other users cannot enter the directory of the socket anyway.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    layout = struct.Struct("3i")  # Of ``struct ucred``: pid, uid, gid.
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    _, uid, _ = layout.unpack(credentials)
    return uid in {os.getuid(), 0}
