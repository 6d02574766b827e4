"""Who may import whom, so that the arrows between the rooms stay as they are drawn."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_connmgr

PACKAGE = Path(django_connmgr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

#: A room, and the rooms that it may enter, besides itself.
MAY_ENTER = {
    "exceptions": set(),
    "_pool": {"exceptions"},
    "conf": {"_pool", "exceptions"},
    "_registry": {"_pool", "exceptions"},
    "_current": {"_pool"},
    "backends": {"_current", "_registry", "conf", "_pool", "exceptions"},
    "connections": {"backends", "_registry", "_pool", "exceptions"},
    "signals": set(),
    "work": {"connections", "backends", "signals", "_current", "_registry", "_pool", "exceptions"},
    "middleware": {"work"},
    "integrations": {"work", "connections", "exceptions"},
    "checks": {"backends", "conf"},
    "apps": {"checks", "work", "integrations"},
    "management": {"connections", "work", "_registry", "_pool", "exceptions"},
    "testing": {"_pool", "exceptions"},
    "__init__": {"backends", "connections", "work", "exceptions"},
}


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """Modules that ``path`` imports, wherever in the file, as parts of their full names."""
    here = ("django_connmgr", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level] if node.level else ()
            module = (*start, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield (*module, alias.name)


def own_imports(path: Path) -> set[tuple[str, ...]]:
    """What ``path`` imports of this package, without the package's name."""
    found = {name[1:] for name in imports_of(path) if name[0] == "django_connmgr"}
    return {name for name in found if name}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def own_room(path: Path) -> str:
    return room_of(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_each_room_enters_only_those_below_it(path: Path) -> None:
    room = own_room(path)
    assert room in MAY_ENTER, f"{relative(path)} stands in a room that has no place yet."
    assert {room_of(name) for name in own_imports(path)} <= {room, *MAY_ENTER[room]}


def test_the_rooms_have_no_cycle() -> None:
    """The table above is an order: each room enters only rooms that were built before."""
    built: set[str] = set()
    rooms = dict(MAY_ENTER)
    while rooms:
        ready = {room for room, others in rooms.items() if others <= built}
        assert ready, f"a cycle among {sorted(rooms)}"
        built |= ready
        rooms = {room: others for room, others in rooms.items() if room not in ready}


def test_no_file_imports_another_in_a_circle() -> None:
    """But for imports that only type checkers make."""
    modules = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in FILES}
    graph = {
        name: {target for target in _targets(path, modules) if target != name}
        for name, path in modules.items()
    }
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def _targets(path: Path, modules: dict[tuple[str, ...], Path]) -> Iterator[tuple[str, ...]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    here = ("django_connmgr", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = (*here[1 : len(here) - node.level], *(node.module or "").split("."))
            module = tuple(part for part in module if part)
            for alias in node.names:
                for name in ((*module, alias.name), module):
                    if name in modules:
                        yield name
                        break


def test_the_engine_room_needs_nothing_but_the_standard_library() -> None:
    strangers = {
        (relative(path), name[0])
        for path in (PACKAGE / "_pool").glob("*.py")
        for name in imports_of(path)
        if name[0] not in sys.stdlib_module_names and name[0] != "django_connmgr"
    }
    assert strangers == set()


def test_nothing_imports_what_is_for_tests() -> None:
    assert [relative(path) for path in FILES if ("testing",) in own_imports(path)] == []
    assert not any(name[0] == "testing" for path in FILES for name in own_imports(path))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def in_new_process(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    result = subprocess.run(  # noqa: PLW1510 - its output says more than an exception
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_package_can_be_imported_before_settings_are_configured() -> None:
    """And does nothing then: no thread, and no connection to anything."""
    assert (
        in_new_process(
            "import threading, django_connmgr\n"
            "from django.conf import settings\n"
            "print(settings.configured, threading.active_count())"
        )
        == "False 1"
    )


def test_a_process_that_uses_no_database_starts_no_thread_and_opens_nothing() -> None:
    assert (
        in_new_process(
            "import os, threading, django\n"
            "os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
            "django.setup()\n"
            "from django_connmgr import pools, release_connections\n"
            "release_connections()\n"
            "print(threading.active_count(), [pool.stats().size for pool in pools.values()])"
        )
        == "1 [0, 0, 0]"
    )
