"""Replicas in tests: rows of the test's own transaction, and servers that look broken.

Django is imported where it is used: the fakes beside this work where there is none.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from .._pool.host import DOWN, Host
from .._pool.lag import Lag


@contextmanager
def mirrored() -> Iterator[None]:
    """In the block, aliases of replicas show what the test has written.

    They lead to the primary's own connection, with its open transaction, on the test's thread; the
    router routes as ever, so ``instance._state.db`` says where a row was read. A write through such
    an alias is not refused here.
    """
    from django.db import connections

    from ..clusters import find_clusters

    replicas: dict[str, Any] = {}
    for primary, aliases in find_clusters().items():
        for alias in aliases:
            replicas[alias] = connections[alias]
            mirror: Any = _Mirror(alias, connections[primary], connections[alias].settings_dict)
            connections[alias] = mirror
    try:
        yield
    finally:
        for alias, wrapper in replicas.items():
            connections[alias] = wrapper


class ReplicaMirrorMixin:
    """Before ``django.test.TestCase``: all its tests are ``mirrored()``."""

    _mirrors: ExitStack

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()  # type: ignore[misc]
        cls._mirrors = ExitStack()
        cls._mirrors.enter_context(mirrored())

    @classmethod
    def tearDownClass(cls) -> None:
        # First: the transaction around the class is each connection's own.
        cls._mirrors.close()
        super().tearDownClass()  # type: ignore[misc]

    def assertReadsFrom(self, name: str) -> AbstractContextManager[None]:  # noqa: N802
        """See ``assert_reads_from()``."""
        return assert_reads_from(name)


class _Mirror:
    """The primary's wrapper in all but its settings, by which Django knows a mirror."""

    def __init__(self, alias: str, primary: Any, settings: dict[str, Any]) -> None:
        vars(self).update(mirror=alias, primary=primary, settings_dict=settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.primary, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.primary, name, value)

    def cursor(self) -> Any:
        return self._noted(self.primary.cursor())

    def chunked_cursor(self) -> Any:
        return self._noted(self.primary.chunked_cursor())

    def _noted(self, cursor: Any) -> Any:
        cursor.read_through = self.mirror
        return cursor


@contextmanager
def assert_reads_from(name: str) -> Iterator[None]:
    """Fail if a read of this thread, in the block, goes elsewhere than said.

    ``name`` is an alias, or else ``"replica"`` or ``"primary"``: those of any cluster. Fails also
    if nothing is read. Raises ``AssertionError``, and ``ValueError`` for another name.
    """
    from django.db import connections

    from ..consistency.writes import Kind, kind_of

    expected = _aliases_of(name)
    reads: list[tuple[str, str]] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if kind_of(sql) is Kind.READS:
            own = context["connection"].alias
            reads.append((getattr(context["cursor"], "read_through", own), str(sql)))
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for alias in connections.settings:
            if not isinstance(connections[alias], _Mirror):
                stack.enter_context(connections[alias].execute_wrapper(note))
        yield
    others = [f"{alias}: {sql}" for alias, sql in reads if alias not in expected]
    if others or not reads:
        found = "\n".join(others) or "nothing was read"
        raise AssertionError(f"Not all reads went to {name!r}:\n{found}")


def _aliases_of(name: str) -> set[str]:
    from django.db import connections

    from ..clusters import find_clusters

    if name in connections.settings:
        return {name}
    clusters = find_clusters()
    if name == "primary":
        return set(clusters)
    if name == "replica":
        return {alias for aliases in clusters.values() for alias in aliases}
    raise ValueError(f"{name!r} is no alias, and neither 'primary' nor 'replica'.")


@contextmanager
def simulate_down(*names: str, using: str = "default") -> Iterator[None]:
    """In the block, replicas of a primary look as if they could not be reached.

    ``names`` are those of ``replicas(using).status()``; all, if there are none. What is read from
    one of them already goes on. Raises ``KeyError`` for an unknown name.
    """
    with ExitStack() as stack:
        for hosts, host in _find_hosts(names, using):
            stack.enter_context(hosts.fixed(host, state=DOWN, retry_at=float("inf")))
        yield


@contextmanager
def simulate_lag(name: str, seconds: float, using: str = "default") -> Iterator[None]:
    """In the block, a replica looks as if it were so many ``seconds`` behind.

    Above ``MAX_LAG_SECONDS`` it is not chosen. Raises ``KeyError`` for an unknown name.
    """
    from ..app_settings import app_settings

    ((hosts, host),) = _find_hosts((name,), using)
    is_lagging = seconds > app_settings().MAX_LAG_SECONDS
    with hosts.fixed(host, lag=Lag(seconds, 0), is_lagging=is_lagging):
        yield


def _find_hosts(names: tuple[str, ...], using: str) -> list[tuple[Any, Host]]:
    from ..replicas import replicas

    found = {host.name: (hosts, host) for hosts, host in replicas(using).find_hosts()}
    for name in names:
        if name not in found:
            raise KeyError(f"{using!r} has no replica {name!r}; there are: {', '.join(found)}.")
    return [found[name] for name in names or found]
