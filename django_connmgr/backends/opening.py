"""Opening physical connections, the wrapped engine's own way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.utils.functional import cached_property

from .physical import Physical


@dataclass
class Opening:
    """A connection that a wrapper is opening for its pool."""

    #: Seconds that it may take.
    timeout: float
    #: Code that ran when the connection was opened changed its session.
    has_session_state: bool = False


def open_physical(wrapper: Any, connect: Callable[[], None], timeout: float) -> Physical:
    """Open one with ``connect()``, the wrapped engine's own; the wrapper is left without one."""
    borrower = wrapper.borrower
    driver: Any = wrapper.connection_pool.driver
    before = set(vars(wrapper))
    opening = Opening(timeout)
    borrower.begin_opening(opening)
    try:
        connect()
        left = type(wrapper).left_by_connect
        for name in set(vars(wrapper)) - before:
            if not isinstance(getattr(type(wrapper), name, None), cached_property):
                left.add(name)
        state = {name: value for name, value in vars(wrapper).items() if name in left}
        physical: Physical = driver.prepare(wrapper.connection, state)
        physical.is_customised = opening.has_session_state
    except BaseException:
        if wrapper.connection is not None:
            driver.close_all([wrapper.connection], linger=True)
        raise
    finally:
        borrower.begin_opening(None)
        wrapper.close_at = wrapper.connection = None
    return physical


def open_apart(
    wrapper_class: type[Any], settings: dict[str, Any], alias: str, timeout: float
) -> Physical:
    """Open a physical connection on a wrapper of its own, for the background thread.

    Meanwhile it is that thread's ``connections[alias]``, to receivers of
    ``connection_created`` that ask for it: another would lease, and never release.
    """
    wrapper = wrapper_class(settings, alias)
    previous = getattr(connections._connections, alias, None)  # type: ignore[attr-defined]
    connections[alias] = wrapper
    try:
        physical: Physical = wrapper.open_physical(timeout)
    finally:
        if previous is None:
            del connections[alias]
        else:
            connections[alias] = previous
    return physical
