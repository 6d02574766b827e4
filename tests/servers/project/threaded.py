"""Django's ``ThreadedWSGIServer``, as its live server tests run it."""

from __future__ import annotations

import signal
import sys
import threading

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from .wsgi import application


def main(port: int) -> None:
    server = ThreadedWSGIServer(("127.0.0.1", port), WSGIRequestHandler, allow_reuse_address=True)
    server.set_app(application)
    # Not on this thread, which is the one that serves: shutdown() would wait for itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.05)
    server.server_close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
