"""The process that serves the shop: prints its port, and ends when its standard input does.

So it ends with the process that started it, however that one ends.
"""

from __future__ import annotations

import sys
import threading

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from ..wsgi import application


class Server(ThreadedWSGIServer):
    #: All clients connect at once; the default of 10 would make most of them try again.
    request_queue_size = 256


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """Log no requests; what goes wrong is logged elsewhere."""


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever, name="server")
    thread.start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
    thread.join()
    # Threads that serve clients are daemons, and a client may keep one waiting for ever.
    server.socket.close()


if __name__ == "__main__":
    main()
