"""The unit of work that the calling code belongs to."""

from contextvars import ContextVar
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from .unit import Unit

current_unit: ContextVar[Unit | None] = ContextVar("django_connmgr_unit", default=None)
#: The innermost one here, but for those of ASGI requests that only ``find_unit()`` finds.
get_current = current_unit.get
set_current = current_unit.set
#: What asgiref makes for each ASGI request; ``None`` elsewhere.
get_context = SyncToAsync.thread_sensitive_context.get

#: Units of ASGI requests, by what asgiref makes for each: Django up to 5.2 sends
#: ``request_started`` from a task of its own, and what that sets in ``current_unit`` ends with it.
_units: WeakKeyDictionary[ThreadSensitiveContext, Unit] = WeakKeyDictionary()
#: Whether there has ever been one.
_has_units = False


def find_unit() -> Unit | None:
    """The innermost unit of work here; ``None`` outside of all."""
    unit = get_current()
    if _has_units and (unit is None or not unit.is_request):
        context = get_context(None)
        request = _units.get(context) if context is not None else None
        # The server itself may work in a unit, as ``runserver`` does: the request's is inside.
        if request is not None and (unit is None or request.parent is unit):
            return request
    return unit


def note_request_unit(unit: Unit, context: ThreadSensitiveContext) -> None:
    """A request begins that is served in a context of asgiref's.

    Its unit stays with it after its end: what threads that it leaves behind lease goes after use.
    """
    global _has_units  # noqa: PLW0603 - faster to ask than the dictionary
    _has_units = True
    _units[context] = unit
