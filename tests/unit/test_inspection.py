"""Where sockets are, who answers, and what is said when there is no answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_connmgr._pool.events import Event
from django_connmgr._pool.limits import Limits
from django_connmgr._pool.pool import ConnectionPool
from django_connmgr._pool.reaper import Reaper
from django_connmgr.inspection import answers, client, directory, opening
from django_connmgr.inspection import recent as recent_module
from django_connmgr.inspection.client import ask
from django_connmgr.inspection.directory import Unavailable, find_sockets, make_path
from django_connmgr.inspection.door import Door, listen
from django_connmgr.inspection.process import find_role
from django_connmgr.inspection.recent import Recent
from django_connmgr.inspection.wire import MOST_ANSWER, NotUnderstood
from django_connmgr.management.subcommands.processes import describe_none
from django_connmgr.project import project_name
from django_connmgr.registry import Address, registry
from django_connmgr.testing import FakeDriver

from .helpers import PATIENCE, Pool, borrow


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="cm-") as name:
        yield Path(name)


@pytest.fixture
def runtime(place: Path) -> Iterator[Path]:
    with override_settings(CONNMGR={"RUNTIME_DIR": place}):
        yield place / f"django-connmgr-{os.getuid()}"


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool of this process, as the registry knows it."""
    made: Pool = ConnectionPool("watched", FakeDriver(), Limits(max_size=2, reap_interval=0))
    address = Address("watched", None, None)
    monkeypatch.setattr(registry, "_pools", {address: made})
    yield made
    made.close()


@pytest.fixture
def door(runtime: Path, pool: Pool) -> Iterator[Door]:
    """This process answers, on a thread of the test's own."""
    made = opening.open_door()
    assert made is not None
    is_open = threading.Event()
    is_open.set()

    def live() -> None:
        while is_open.is_set():
            made.wait(PATIENCE)
        made.close()

    thread = threading.Thread(target=live)
    thread.start()
    yield made
    is_open.clear()
    made.ring()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(PATIENCE)
    return done.pid


def socket_of(runtime: Path, pid: int, project: str = "testproject") -> Path:
    """A socket that a process left, or that is about to listen."""
    runtime.mkdir(mode=0o700, exist_ok=True)
    path = runtime / f"{project}.{pid}.abc123.sock"
    line = socket.socket(socket.AF_UNIX)
    line.bind(os.fspath(path))
    line.close()
    return path


def test_sockets_are_in_a_directory_that_no_other_user_can_enter(door: Door, runtime: Path) -> None:
    (path,) = runtime.iterdir()
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name.startswith(f"{project_name()}.{os.getpid()}.")


def test_a_process_tells_its_pools(door: Door, pool: Pool) -> None:
    lease = pool.acquire()
    (reply,) = ask("status")
    lease.release()
    assert (reply.pid, reply.project, reply.error) == (os.getpid(), "testproject", "")
    assert reply.answer["process"]["role"] == "pytest"
    (numbers,) = reply.answer["pools"]
    assert (numbers["name"], numbers["leased"], numbers["max_size"]) == ("watched", 1, 2)


def test_a_process_tells_who_holds_what_and_where(door: Door, pool: Pool) -> None:
    lease = pool.acquire()
    (reply,) = ask("leases", {"stacks": True})
    lease.release()
    (record,) = reply.answer["leases"]
    assert (record["pool"], record["owner"]) == ("watched", threading.current_thread().name)
    assert "test_a_process_tells_who_holds_what_and_where" in record["stack"]
    assert ask("leases", {"alias": "another"})[0].answer["leases"] == []


def test_a_process_tells_who_waits(door: Door, pool: Pool) -> None:
    leases = [pool.acquire(), pool.acquire()]
    waiter = threading.Thread(target=borrow, args=(pool,), name="patient")
    waiter.start()
    while pool.stats().waiting == 0:
        time.sleep(0.001)
    (reply,) = ask("waiters")
    for lease in leases:
        lease.release()
    waiter.join(PATIENCE)
    (record,) = reply.answer["waiters"]
    assert (record["owner"], record["pool"], record["alias"]) == ("patient", "watched", "watched")
    assert 0 < record["remaining"] <= 5


def test_an_exhausted_process_answers_and_is_freed_by_ending_a_lease(
    door: Door, pool: Pool
) -> None:
    leases = [pool.acquire(), pool.acquire()]
    waiter = threading.Thread(target=borrow, args=(pool,))
    waiter.start()
    while pool.stats().waiting == 0:
        time.sleep(0.001)
    first = ask("leases")[0].answer["leases"][0]
    (done,) = ask("kill-lease", {key: first[key] for key in ("pool", "slot", "since")})
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert done.answer["done"] == ["watched"]
    assert [lease.is_held() for lease in leases] == [False, True]
    assert leases[0].slot is None
    with pytest.raises(Exception, match="an operator ended its lease"):
        leases[0].held_slot()
    leases[1].release()
    (again,) = ask("kill-lease", {key: first[key] for key in ("pool", "slot", "since")})
    assert (again.answer["done"], again.answer["failed"]) == ([], ["watched"])


def test_prometheus_is_told_of_every_process_of_the_host(door: Door, pool: Pool) -> None:
    prometheus = pytest.importorskip("django_connmgr.instrumentation.prometheus")
    borrow(pool)
    samples = [
        sample
        for metric in prometheus.PoolCollector(whole_host=True).collect()
        for sample in metric.samples
        if sample.name == "django_connmgr_checkouts_total"
    ]
    labels = {"pool": "watched", "alias": "watched", "pid": str(os.getpid()), "process": "pytest"}
    assert [(sample.labels, sample.value) for sample in samples] == [(labels, 1)]


def test_pools_are_steered_from_outside(door: Door, pool: Pool) -> None:
    borrow(pool)
    for command, arguments in (
        ("suspend", {}),
        ("resume", {"alias": "watched"}),
        ("resize", {"max_size": 7}),
        ("recycle", {}),
        ("drain", {"timeout": 5}),
    ):
        assert ask(command, arguments)[0].answer["done"] == ["watched"], command
    stats = pool.stats()
    assert (stats.status, stats.max_size, stats.size, stats.generation) == ("open", 7, 0, 3)
    assert ask("recycle", {"alias": "another"})[0].answer["done"] == []


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("dance", {}, "There is no command 'dance'; there are: status, leases"),
        ("resize", {}, "'max_size' is missing"),
        ("resize", {"max_size": "many"}, "a whole number, 1 or more"),
        ("drain", {"timeout": "long"}, "'timeout' is a number of seconds"),
        ("kill-lease", {"pool": "watched"}, "'slot' and 'since'"),
    ],
)
def test_a_wrong_command_is_told_what_would_be_right(
    door: Door, command: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in ask(command, arguments)[0].error


def test_a_command_that_fails_says_so_and_is_logged(
    door: Door, pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool, "stats", lambda: 1 / 0)
    assert "It failed: ZeroDivisionError" in ask("status")[0].error
    assert "The command 'status' failed." in caplog.text


def test_events_and_minutes_are_remembered_within_bounds(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = Recent()
    assert recent.sample() == float("inf")  # No client has asked.
    monkeypatch.setattr(recent_module, "SAMPLE_INTERVAL", 0.0)
    for _ in range(100):
        told = recent.as_json()
    assert len(told["history"]["watched"]) == 60
    for _ in range(100):
        recent.on_event(Event(kind="opened", pool="watched"))
    assert len(recent.as_json()["events"]) == 50


def test_what_dead_processes_left_is_removed(runtime: Path) -> None:
    path = socket_of(runtime, dead_pid())
    assert ask("status") == []
    assert not path.exists()


def test_a_new_process_sweeps_what_dead_ones_left(runtime: Path) -> None:
    path = socket_of(runtime, dead_pid())
    made = opening.open_door()
    assert made is not None
    made.close()
    assert not path.exists()


def test_a_socket_that_is_about_to_listen_stays(runtime: Path) -> None:
    path = socket_of(runtime, os.getpid())
    assert ask("status") == []
    assert path.exists()
    long_ago = time.time() - 2 * directory.LEFT_OVER
    os.utime(path, (long_ago, long_ago))
    ask("status")
    assert not path.exists()  # Its number is another process's by now.


def test_other_projects_are_asked_only_if_told_to(door: Door) -> None:
    with override_settings(
        CONNMGR={"RUNTIME_DIR": opening.app_settings().RUNTIME_DIR, "PROJECT": "x"}
    ):
        assert ask("status") == []
        assert [reply.project for reply in ask("status", all_projects=True)] == ["testproject"]
        assert ask("status", pids={1}, all_projects=True) == []


def test_a_process_that_does_not_answer_is_told(runtime: Path) -> None:
    with override_settings(CONNMGR={"RUNTIME_DIR": runtime.parent}):
        path = make_path()
        silent = listen(path)
        (reply,) = ask("status", timeout=0.05)
        silent.close()
    assert reply.error == "It does not answer within 0.05 s."


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "It hung up"),
        (b"hello", "no JSON"),
        (b"[]", "no JSON object"),
        (b"x" * (MOST_ANSWER + 1), "more than"),
    ],
)
def test_what_is_no_answer_is_told(runtime: Path, said: bytes, words: str) -> None:
    listener = listen(make_path())

    def speak() -> None:
        line, _ = listener.accept()
        line.recv(1000)
        with line:
            try:
                line.sendall(said)
            except OSError:
                pass  # The client had enough.

    thread = threading.Thread(target=speak)
    thread.start()
    (reply,) = ask("status", timeout=PATIENCE)
    thread.join(PATIENCE)
    listener.close()
    assert words in reply.error


def test_a_path_that_is_too_long_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(CONNMGR={"RUNTIME_DIR": tmp_path / ("x" * 100)}):
        assert opening.open_door() is None
    assert "is too long for a socket" in caplog.text
    assert "set CONNMGR['RUNTIME_DIR'] to a shorter one" in caplog.text


def test_a_directory_that_others_can_enter_is_not_used(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(Unavailable, match="can be entered by other users"):
        make_path()
    socket_path = runtime / "testproject.1.abc123.sock"
    socket_path.touch()
    assert find_sockets() == []


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        override_settings(CONNMGR={"RUNTIME_DIR": tmp_path / "file"}),
        pytest.raises(Unavailable, match="cannot be made"),
    ):
        make_path()


def test_where_there_are_no_unix_sockets_that_is_told(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(directory.socket, "AF_UNIX")
    with pytest.raises(Unavailable, match="no Unix sockets"):
        make_path()
    assert ask("status") == []
    assert describe_none() == "Processes cannot be asked here: this platform has no Unix sockets."


def test_inspection_can_be_turned_off(runtime: Path) -> None:
    with override_settings(CONNMGR={"RUNTIME_DIR": runtime.parent, "INSPECT": False}):
        assert opening.open_door() is None
    assert not runtime.exists()


def test_wrong_settings_do_not_end_the_background_thread() -> None:
    with override_settings(CONNMGR={"INSPECT": "perhaps"}):
        assert opening.open_door() is None


def test_a_shell_s_and_a_service_s_directories_are_both_looked_at(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, temporary = place / "session", place / "tmp"
    session.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(directory.tempfile, "gettempdir", lambda: os.fspath(temporary))
    with override_settings(CONNMGR={}):
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        path = make_path()
        assert path.is_relative_to(temporary)
        listen(path).close()
        monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(session))
        assert make_path().is_relative_to(session)
        assert [found.path for found in find_sockets()] == [path]


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/srv/bin/gunicorn", "shop.wsgi", "--bind", "secret"], "gunicorn worker"),
        (["/srv/bin/celery", "-A", "shop", "worker", "-P", "threads"], "celery worker"),
        (["/srv/lib/celery/__main__.py", "-A", "shop", "beat"], "celery beat"),
        (["manage.py", "runserver", "0:8000"], "manage.py runserver"),
        (["manage.py"], "manage.py"),
        (["/usr/bin/uvicorn", "shop.asgi:application"], "uvicorn"),
        (["import.py", "--password=secret"], "import.py"),
        (["-c"], "python -c"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_process_is_named_for_what_it_runs(argv: list[str], role: str) -> None:
    assert find_role(argv) == role


def test_the_own_process_can_be_asked_without_a_socket(pool: Pool) -> None:
    assert [one["name"] for one in answers.answer("status", {})["pools"]] == ["watched"]
    with pytest.raises(NotUnderstood):
        answers.answer("dance", {})


class Hanging:
    """A pool whose upkeep waits for a server."""

    name = "hanging"
    reap_interval = 0.001

    def __init__(self) -> None:
        self.hangs, self.may_go_on = threading.Event(), threading.Event()
        self.passes = 0

    def maintain(self) -> None:
        self.passes += 1
        self.hangs.set()
        assert self.may_go_on.wait(PATIENCE)

    def reap(self) -> None: ...

    def has_lost(self) -> bool:
        return False


def test_a_process_answers_while_its_upkeep_waits_for_a_server(runtime: Path, pool: Pool) -> None:
    reaper, hanging = Reaper("django-connmgr-reaper"), Hanging()
    reaper.make_door = opening.open_door
    reaper.watch(hanging)
    assert hanging.hangs.wait(PATIENCE)
    try:
        for _ in range(20):
            (reply,) = ask("status")
            assert [one["name"] for one in reply.answer["pools"]] == ["watched"]
            reaper.nudge()
        assert hanging.passes == 1  # One at a time, however often it is due.
    finally:
        hanging.may_go_on.set()
        reaper.unwatch(hanging)
        reaper.stop(PATIENCE)
    assert client.find_sockets() == []
