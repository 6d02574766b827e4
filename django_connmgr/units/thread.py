"""What the calling thread has leased, on every alias."""

import logging
import threading
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .current import find_unit
from .timed import TimedScope
from .unit import Unit

logger = logging.getLogger("django_connmgr.connections")


class _Past(threading.local):
    #: Whether a unit of work has begun on the calling thread.
    has_worked = False


past = _Past()


def release(wrapper: BaseDatabaseWrapper) -> bool:
    """Give its connection back, or let others have the warm one; true if there was one."""
    borrower = getattr(wrapper, "borrower", None)
    return borrower is not None and bool(borrower.release())


def release_all(unit: Unit | None = None) -> int:
    """``release()`` for every alias that this thread has used; returns how many went.

    With ``unit``, only what was leased in it. An alias that fails is logged and does not keep the
    others. Callers whose thread mostly has nothing look at ``here.owner.held`` first.
    """
    released = 0
    for wrapper in connections.all(initialized_only=True):
        try:
            if unit is None or _is_leased_in(unit, wrapper):
                released += release(wrapper)
        except Exception:
            logger.exception("Could not release the connection of %r.", wrapper.alias)
    return released


def note_outer(scope: TimedScope) -> None:
    """Note what this thread has leased already: a unit with a deadline may go on to use it."""
    for wrapper in connections.all(initialized_only=True):
        lease = getattr(getattr(wrapper, "borrower", None), "lease", None)
        slot = None if lease is None else lease.slot
        if slot is not None:
            scope.outer.append((lease.pool, slot.number, slot.leased_at))  # type: ignore[union-attr]


def _is_leased_in(unit: Unit, wrapper: Any) -> bool:
    lease = getattr(getattr(wrapper, "borrower", None), "lease", None)
    slot = None if lease is None else lease.slot  # Once: another thread may end the lease.
    return slot is not None and slot.scope is unit.scope


def release_what_came_before(*, only_quiescent: bool = False) -> None:
    """What was leased at import or in ``AppConfig.ready()``, and would never be given back."""
    for wrapper in connections.all(initialized_only=True):
        borrower: Any = getattr(wrapper, "borrower", None)
        if borrower is None:
            continue
        if borrower.lease is None:
            borrower.cool()  # Whosever it is: that costs its unit no more than its first choice.
        elif (
            not (only_quiescent and borrower.holds)
            and not _belongs_to_a_unit(borrower.lease.slot)
            and not borrower.has_transaction()
        ):
            borrower.release()


def _belongs_to_a_unit(slot: Any) -> bool:
    """Whether it is a surrounding unit's: a request's, or that of the thread's starter."""
    unit = find_unit()
    while unit is not None and slot is not None and slot.scope is not unit.scope:
        unit = unit.parent
    return unit is not None and slot is not None
