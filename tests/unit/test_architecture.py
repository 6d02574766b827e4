"""Who may import whom, so that the arrows between the rooms stay as they are drawn."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import django_connmgr

PACKAGE = Path(django_connmgr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

#: A room, and the rooms that it may enter, besides itself. ``DESIGN.md`` draws them.
MAY_ENTER: dict[str, set[str]] = {
    "_pool": set(),
    "app_settings": set(),
    "block": set(),
    "clusters": set(),
    "signals": set(),
    "exceptions": {"_pool"},
    "forks": {"_pool"},
    "conf": {"_pool"},
    "registry": {"_pool"},
    "units": {"_pool", "app_settings", "block", "forks", "signals"},
    "consistency": {"_pool", "app_settings", "units", "block", "exceptions", "forks"},
    "backends": {
        *("_pool", "app_settings", "clusters", "conf", "consistency", "exceptions", "forks"),
        *("project", "registry", "signals", "units"),
    },
    "routers": {"app_settings", "clusters", "consistency"},
    "replicas": {"_pool", "app_settings", "clusters", "consistency"},
    "project": {"app_settings"},
    "health": {"_pool", "registry"},
    "health_view": {"health"},
    "server_view": {"budget"},
    "inspection": {
        *("__init__", "_pool", "api", "app_settings", "clusters", "forks", "project"),
        *("registry", "replicas"),
    },
    "instrumentation": {"__init__", "_pool", "health", "inspection"},
    "budget": {"clusters", "conf"},
    "doctor": {"_pool", "app_settings", "budget", "clusters", "conf", "exceptions"},
    "budget_check": {"app_settings", "budget"},
    "api": {"_pool", "block", "registry", "units"},
    "middleware": {"app_settings", "clusters", "consistency", "units"},
    "integrations": {"app_settings", "consistency", "forks", "units"},
    "checks": {"app_settings", "backends", "conf"},
    "replica_checks": {"clusters", "middleware"},
    "pooler_check": {"conf"},
    "apps": {
        *("budget_check", "checks", "inspection", "integrations", "pooler_check"),
        *("replica_checks", "units"),
    },
    "management": {
        *("_pool", "api", "app_settings", "budget", "clusters", "conf", "doctor"),
        *("inspection", "project", "server_view"),
    },
    "testing": {"_pool", "app_settings", "clusters", "consistency", "replicas"},
    "pytest_plugin": {"testing"},
    "__init__": {"api", "backends", "consistency", "exceptions", "replicas", "units"},
}

#: The most lines of the heart, of all, and of one function or class.
MOST_IN_THE_POOL = 3_250
#: What is there for replicas only: several pools behind one alias.
OF_SEVERAL = {"host.py", "hosts.py", "lag.py", "position.py"}
#: What only watches and tells.
OF_WATCHING = {"events.py", "logs.py", "long_leases.py", "observed.py", "timings.py"}
MOST_IN_ALL = 16_500
MOST_IN_A_FUNCTION = 40
#: As many classes of ours a class may stand on; drivers and engines one more.
MOST_BELOW = 1

#: Where methods may need the lock: in the class that it guards, and in helpers of it.
UNDER_THE_LOCK = {"state.py", "observed.py", "view.py", "maintenance.py", "growth.py", "hosts.py"}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def name_of(path: Path) -> tuple[str, ...]:
    """The parts of a file's name as a module, without the package's; the package is ``()``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


Node = TypeVar("Node")

MODULES = {name_of(path): path for path in FILES}


def room_of(name: tuple[str, ...]) -> str:
    return name[0] if name else "__init__"


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """Full names of what a file imports, anywhere in it, also for type checkers only."""
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


def targets_of(path: Path) -> set[tuple[str, ...]]:
    """Files of ours that a file imports, as names of modules."""
    found = set()
    for first, *name in imports_of(path):
        if first == "django_connmgr":
            # The longest beginning that is a file: the rest is a name in it.
            while tuple(name) not in MODULES:
                name.pop()
            found.add(tuple(name))
    return found - {name_of(path)}


# Rooms


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_each_room_enters_only_those_below_it(path: Path) -> None:
    room = room_of(name_of(path))
    assert room in MAY_ENTER, f"{relative(path)} stands in a room that has no place yet."
    assert {room_of(name) for name in targets_of(path)} <= {room, *MAY_ENTER[room]}


def test_the_rooms_have_no_circle() -> None:
    """The table above is an order: each room enters only rooms that were built before."""
    assert circle_in(MAY_ENTER) == set()


def test_no_file_imports_another_in_a_circle() -> None:
    """Imports for type checkers are arrows too, and so are those inside functions."""
    assert circle_in({name: targets_of(path) for name, path in MODULES.items()}) == set()


def circle_in(graph: dict[Node, set[Node]]) -> set[Node]:
    """What is left of a graph when what leads nowhere is taken away, again and again."""
    graph = dict(graph)
    while leaves := {node for node, targets in graph.items() if not targets & graph.keys()}:
        graph = {node: targets for node, targets in graph.items() if node not in leaves}
    return set(graph)


def test_an_integration_imports_no_other() -> None:
    """A star: one file per task runner or server."""
    for path in (PACKAGE / "integrations").glob("*.py"):
        if path.stem != "__init__":
            assert {name for name in targets_of(path) if name[0] == "integrations"} == set()


def test_nothing_imports_what_is_for_tests() -> None:
    assert [relative(path) for path in FILES if ("testing",) in targets_of(path)] == []


# The heart


def test_the_pool_imports_nothing_but_the_standard_library_and_itself() -> None:
    strangers = {
        (relative(path), ".".join(name))
        for path in (PACKAGE / "_pool").glob("*.py")
        for name in imports_of(path)
        if name[0] not in sys.stdlib_module_names and name[:2] != ("django_connmgr", "_pool")
    }
    assert strangers == set()


def test_the_pool_works_where_there_is_no_django() -> None:
    code = f"""
        import sys, types

        package = types.ModuleType("django_connmgr")
        package.__path__ = [{str(PACKAGE)!r}]
        sys.modules["django_connmgr"] = package
        sys.modules["django"] = sys.modules["asgiref"] = None

        from django_connmgr._pool.pool import ConnectionPool
        from django_connmgr._pool.limits import Limits
        from django_connmgr.testing import FakeDriver

        pool = ConnectionPool("bare", FakeDriver(), Limits(reap_interval=0))
        pool.acquire().release()
        print(pool)
    """
    assert in_new_process(code).startswith("<ConnectionPool 'bare' open: size=1/5 ")


def test_methods_that_need_the_lock_live_with_what_it_guards() -> None:
    elsewhere = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            needs_lock = isinstance(node, ast.FunctionDef) and node.name.endswith("_locked")
            if needs_lock and (path.parent.name != "_pool" or path.name not in UNDER_THE_LOCK):
                elsewhere.add((relative(path), node.name))
    assert elsewhere == set()


def test_what_needs_the_lock_is_called_with_it() -> None:
    """In a ``with`` block, or in a method that needs the lock itself."""
    unlocked = set()
    for path in (PACKAGE / "_pool").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and not function.name.endswith("_locked"):
                unlocked |= {
                    (path.name, function.name, called) for called in calls_without_lock(function)
                }
    # Right after it was made, a state is nobody else's yet.
    assert unlocked == {("state.py", "__init__", "set_limits_locked")}


def calls_without_lock(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and any(
            ast.unparse(item.context_expr).rpartition(".")[2] in {"lock", "_lock"}
            for item in child.items
        ):
            continue
        if isinstance(child, ast.Call):
            called = ast.unparse(child.func).rpartition(".")[2]
            if called.endswith("_locked"):
                yield called
        yield from calls_without_lock(child)


# Sizes


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MOST_IN_A_FUNCTION
    }
    assert long == {}


def lines_of(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_the_pool_is_small_enough_to_be_read() -> None:
    ours = [
        path
        for path in (PACKAGE / "_pool").glob("*.py")
        if path.name not in OF_SEVERAL | OF_WATCHING
    ]
    assert lines_of(sorted(ours)) <= MOST_IN_THE_POOL


def test_the_package_is_small_enough_to_be_read() -> None:
    assert lines_of(FILES) <= MOST_IN_ALL


Class = tuple[tuple[str, ...], str]


def classes() -> dict[Class, set[Class]]:
    """Our classes by module and name, each with those of ours that it stands on."""
    found: dict[Class, set[Class]] = {}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        known = {
            node.name: (module, node.name) for node in tree.body if isinstance(node, ast.ClassDef)
        }
        start = ("django_connmgr", *path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                source = (*start[1 : len(start) - node.level], *(node.module or "").split("."))
                source = tuple(part for part in source if part)
                for alias in node.names:
                    local = alias.asname or alias.name
                    known.setdefault(local, (source, alias.name))
                    known[f"{local}."] = ((*source, alias.name), "")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[module, node.name] = {
                    base for base in map(known_as(known), node.bases) if base is not None
                }
    return found


def known_as(known: dict[str, Class]) -> Callable[[ast.expr], Class | None]:
    def resolve(base: ast.expr) -> Class | None:
        prefix, _, name = ast.unparse(base).partition("[")[0].rpartition(".")
        if not prefix:
            return known.get(name)
        source, _ = known.get(f"{prefix}.", ((), ""))
        return (source, name) if source else None

    return resolve


def test_there_are_no_towers_of_classes() -> None:
    """Compose, don't inherit: a class cut into bases is one class in several files."""
    bases = classes()

    def height(cls: Class) -> int:
        return max((1 + height(base) for base in bases[cls] if base in bases), default=0)

    towers = {
        f"{'.'.join(module)}.{name}": height((module, name))
        for module, name in bases
        if height((module, name)) > MOST_BELOW + (module[:1] == ("backends",))
    }
    assert towers == {}
    assert height((("units", "work"), "unit_of_work")) == 1, (
        "The imports of bases are not understood."
    )


# Importing


def in_new_process(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    result = subprocess.run(  # noqa: PLW1510 - its output says more than an exception
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
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
