"""A fork of which nobody tells Python, and how uWSGI's workers come to know of theirs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from django_connmgr import forks
from django_connmgr._pool import background

FORK = ctypes.PyDLL(None).fork  # The system's: Python does not notice.


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done; steps that others have registered are not."""
    done: list[str] = []
    monkeypatch.setattr(forks, "_steps", [forks._note_process, lambda: done.append("a step")])
    monkeypatch.setattr(background, "is_held", False)
    return done


def in_child(ask: Callable[[], str], fork: Callable[[], int] = FORK) -> str:
    reader, writer = os.pipe()
    if fork() == 0:
        try:
            os.write(writer, ask().encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.wait()
    with os.fdopen(reader) as answer:
        return answer.read()


def test_a_child_does_what_python_did_not_and_does_it_once(steps: list[str]) -> None:
    forks.expect_silent_forks()

    def ask() -> str:
        forks.after_silent_fork()
        forks.after_silent_fork()
        return f"{steps} {background.is_held}"

    assert in_child(ask) == "['a step'] False"
    assert (steps, background.is_held) == ([], True)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_that_python_knows_of_does_nothing_more(steps: list[str]) -> None:
    forks.expect_silent_forks()

    def ask() -> str:
        held = background.is_held
        forks.after_silent_fork()
        return f"{steps} {held}"

    assert in_child(ask, os.fork) == "[] False"


def test_what_is_no_child_is_only_free_to_start_threads_again(steps: list[str]) -> None:
    forks.expect_silent_forks()
    assert background.start_thread(lambda: None, "held") is None
    forks.after_silent_fork()
    assert steps == []
    thread = background.start_thread(lambda: None, "free")
    assert thread is not None
    thread.join()


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("uwsgi")
    module.worker_id = lambda: 0  # type: ignore[attr-defined]
    module.masterpid = lambda: 100  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


@pytest.fixture
def install(uwsgi: Any) -> Iterator[Callable[[], None]]:
    sys.modules.pop("django_connmgr.integrations.uwsgi", None)
    yield lambda: import_module("django_connmgr.integrations.uwsgi").install()
    sys.modules.pop("django_connmgr.integrations.uwsgi", None)


@pytest.mark.parametrize("is_set_before", [True, False])
def test_the_hook_of_others_is_called_after_ours(
    uwsgi: Any, install: Callable[[], None], steps: list[str], *, is_set_before: bool
) -> None:
    if not is_set_before:
        install()
    uwsgi.post_fork_hook = lambda: steps.append("theirs")
    if is_set_before:
        install()
    install()
    assert background.is_held

    def ask() -> str:
        vars(uwsgi)["post_fork_hook"]()  # As uWSGI looks for it.
        return str(steps)

    assert in_child(ask) == "['a step', 'theirs']"


def test_without_another_hook_there_is_ours(
    uwsgi: Any, install: Callable[[], None], steps: list[str]
) -> None:
    install()
    assert in_child(lambda: str((uwsgi.post_fork_hook(), steps))) == "(None, ['a step'])"


def test_without_a_master_threads_may_start(uwsgi: Any, install: Callable[[], None]) -> None:
    """The process becomes the first worker."""
    uwsgi.masterpid = lambda: 0
    install()
    assert not background.is_held
    assert uwsgi.post_fork_hook() is None


def test_in_a_worker_there_is_nothing_to_do(uwsgi: Any, install: Callable[[], None]) -> None:
    uwsgi.worker_id = lambda: 1
    install()
    assert not background.is_held
    assert not hasattr(uwsgi, "post_fork_hook")
