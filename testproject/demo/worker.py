"""The process that serves the shop: prints its port, and ends when its standard input is closed.

So it also ends when the process that started it is killed.
"""

from __future__ import annotations

import sys
import threading

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from ..wsgi import application


class Server(ThreadedWSGIServer):
    #: All clients connect at once; with the default of 10 most would have to try again.
    request_queue_size = 256


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """Log no requests; errors are logged by Django."""


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
    # Not server_close(), which would wait for threads that serve clients which stay connected.
    server.socket.close()


if __name__ == "__main__":
    main()
