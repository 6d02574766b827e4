"""A PgBouncer before a temporary server, where Debian's package or another is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .cluster import USER, Cluster

PATIENCE = 20.0


class PgBouncerMissing(Exception):
    """There is no program of that name."""


@contextlib.contextmanager
def running_pgbouncer(
    cluster: Cluster, mode: str, *, size: int = 2, tls: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Yields a URL like the cluster's that leads through a PgBouncer in this ``pool_mode``.

    It knows every role of the server, by SCRAM. With ``tls``, files with a key and a certificate,
    it takes no client without.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise PgBouncerMissing("No PgBouncer found. Run 'apt-get install pgbouncer'.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="connmgr-bouncer-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "users").write_text(f'"{USER}" "{cluster.password}"\n')
        secure = ""
        if tls is not None:
            for file, given in zip(("key", "certificate"), tls, strict=True):
                shutil.copy(given, directory / file)
                (directory / file).chmod(0o644)
            secure = (
                f"client_tls_sslmode = require\nclient_tls_key_file = {directory}/key\n"
                f"client_tls_cert_file = {directory}/certificate\n"
            )
        (directory / "ini").write_text(
            f"[databases]\n* = host={cluster.host} port={cluster.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {directory}/users\nauth_user = {USER}\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 100\n{secure}"
        )
        # It refuses to run as root, as PostgreSQL does.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [program, *user, str(directory / "ini")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _await_port(port)
            yield cluster.url.replace(f":{cluster.port}/", f":{port}/")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
