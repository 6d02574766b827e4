"""``permanent_checkout``: what happens when code leases outside a unit of work or a block."""

import sys
import warnings

from ..exceptions import PoolError

#: Packages whose frames are not the code that leases.
_INNER = ("django.", "django_connmgr.", "asgiref.", "contextlib", "threading", "concurrent.")

#: Call sites that were warned about.
_warned: set[tuple[str, int]] = set()


class PermanentCheckoutWarning(RuntimeWarning):
    """A connection is held until the end of the thread, because nothing else ends."""


def permit_checkout(policy: str, alias: str) -> None:
    """Allow it, warn once for each call site, or refuse with ``PoolError``."""
    if policy == "allow":
        return
    filename, line = _call_site()
    message = (
        f"A connection of {alias!r} is leased outside a unit of work and outside "
        f"with_connection(), so nothing gives it back: {filename}:{line}. "
        f"Wrap it in with_connection() or unit_of_work()."
    )
    if policy == "forbid":
        raise PoolError(message)
    if (filename, line) not in _warned:
        _warned.add((filename, line))
        warnings.warn_explicit(message, PermanentCheckoutWarning, filename, line)


def _call_site() -> tuple[str, int]:
    """The innermost frame that is neither Django's nor ours."""
    frame = sys._getframe(1)
    while frame.f_back and f"{frame.f_globals.get('__name__', '')}.".startswith(_INNER):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
