"""Source distributions: they have the tests, which wheels leave out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def cache() -> Path:
    """Our directory in the system's temporary directory: sources, and what the suites printed."""
    directory = Path(tempfile.gettempdir()) / f"connmgr-suites-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user: remove it, or set TMPDIR.")
    return directory


def unpacked(requirement: str) -> Path:
    """The unpacked source distribution of ``requirement``, downloaded unless it is there."""
    home = cache() / "sources" / requirement.replace("==", "-").replace("*", "x")
    if not home.exists():
        # Somewhere else first: an interrupted download must not look like a finished one.
        unfinished = Path(tempfile.mkdtemp(dir=cache()))
        try:
            with tarfile.open(_download(requirement, unfinished)) as archive:
                archive.extractall(unfinished / "sources", filter="data")
            home.parent.mkdir(exist_ok=True)
            try:
                (unfinished / "sources").replace(home)
            except OSError:
                if not home.exists():  # Another run was faster.
                    raise
        finally:
            shutil.rmtree(unfinished)
    (root,) = home.iterdir()
    return root


def _download(requirement: str, to: Path) -> Path:
    name = requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps"]
    subprocess.run(  # noqa: S603 - pip, with arguments of our own
        [*command, "--no-binary", name, "--dest", str(to), requirement], check=True
    )
    (archive,) = to.glob("*.tar.gz")
    return archive
