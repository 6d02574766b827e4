"""A TCP proxy in front of the server that delays every new connection, and nothing else.

It runs in a process of its own and is the same for every contestant.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

from .server import Address


@contextlib.contextmanager
def slow_to_connect(server: Address, seconds: float) -> Iterator[Address]:
    """The address of a proxy that passes the first byte of each connection on after ``seconds``."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, server.host, str(server.port), str(seconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        yield server.at_port(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _serve(host: str, port: int, seconds: float) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        server_reader, server_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    with contextlib.suppress(OSError):
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
