"""The tutorial, done by a stranger: from its text alone, in an empty folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
PATIENCE = 60
#: Told to go on in a second terminal, after it was started in the first.
SERVER = "manage.py runserver"


def steps() -> list[tuple[str, str, str]]:
    """In the order of the text: what is written to which file, and what is typed and seen."""
    found = re.finditer(
        r"(?:(At the end of|In) `([^`]+)`:\n\n)?```(python|console)\n(.*?)```", TEXT, re.DOTALL
    )
    return [(f"{match[1]} {match[2]}" if match[1] else "", match[3], match[4]) for match in found]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the checkout, or of what is installed where there is only a copy of the tests."""
    given = os.environ.get("CONNMGR_TEST_ROOT", str(ROOT))
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, given],
        check=True,
    )
    (built,) = directory.glob("*.whl")
    return built


class Stranger:
    """Knows the tutorial, and has a terminal in an empty folder."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.wheel = folder, wheel
        hidden = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment["COLUMNS"] = "80"
        self.server: subprocess.Popen[bytes] | None = None

    def write(self, where: str, code: str) -> None:
        how, _, name = where.rpartition(" ")
        path = self.folder / name
        before = path.read_text() if how == "At the end of" else ""
        path.write_text(before + code)

    def type(self, command: str) -> str:
        """What is seen, both streams."""
        command = command.replace("python3 ", f"{sys.executable} ").replace(
            '"django-connmgr[postgresql]"', f'"{self.wheel}[postgresql]"'
        )
        if SERVER in command:
            self.serve(command)
            return ""
        # A file and no pipe: what a command leaves in the background keeps that open.
        with tempfile.TemporaryFile("w+") as terminal:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                timeout=5 * PATIENCE,
                check=False,
            )
            terminal.seek(0)
            text = terminal.read()
        assert done.returncode == 0, f"{command}\n{text}"
        return text

    def serve(self, command: str) -> None:
        port = int(command.rsplit(maxsplit=1)[-1])
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {command} --noreload"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            assert self.server.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def leave(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(PATIENCE)


@pytest.fixture
def stranger(tmp_path: Path, wheel: Path) -> Iterator[Stranger]:
    # Where others may look as well: the database server runs as another user than root.
    folder = Path(f"/tmp/connmgr-tutorial-{os.getpid()}") if os.geteuid() == 0 else tmp_path
    folder.mkdir(exist_ok=True)
    stranger = Stranger(folder, wheel)
    yield stranger
    stranger.leave()
    postmaster = folder / "data" / "postmaster.pid"
    if postmaster.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(postmaster.read_text().split()[0]), 2)
    shutil.rmtree(folder, ignore_errors=True)


def shape(text: str) -> str:
    """Without the numbers that differ from run to run, and the widths that follow from them."""
    text = re.sub(r"\b\d{3,}\b", "PID", text)
    text = re.sub(r"\d+\.\d s", "SECONDS", text)
    return re.sub(r"[ -]+", " ", re.sub(r"Thread-\d+", "Thread", text))


@pytest.mark.timeout(5 * PATIENCE)
def test_the_text_alone_leads_to_the_end(stranger: Stranger) -> None:
    seen: dict[str, str] = {}
    for where, language, block in steps():
        if language == "python":
            stranger.write(where, block)
            continue
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            out = stranger.type(command)
            seen[command.rpartition(" ")[2]] = out
            for line in filter(None, shape(expected).splitlines()):
                assert line.strip() in shape(out), f"{command}\n{out}"
    assert shape(seen["leases"]).count("GET /report/, cursor") == 5
    assert not (stranger.folder / "data" / "postmaster.pid").exists()
