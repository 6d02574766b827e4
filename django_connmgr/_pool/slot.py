"""One place in the pool."""

import enum
import itertools
import weakref
from collections.abc import Callable
from traceback import StackSummary
from typing import Any, Generic

from .driver import C
from .lost import Lost
from .owner import Owner
from .scope import RUNNING, Scope, ScopeState


class SlotState(enum.Enum):
    """Every slot is in exactly one of these; all but ``CLOSED`` count against ``max_size``."""

    #: Promised to a lease whose thread is opening the connection.
    CONNECTING = "connecting"
    #: A lease's, whose thread uses the connection.
    LEASED = "leased"
    #: A lease's that is at rest: kept for session state, or by ``lease_connection()``.
    KEPT = "kept"
    #: In the pool: warm if it has an owner, cold if not.
    IDLE = "idle"
    #: The pool's own: being checked, cleaned, opened in the background or closed.
    MAINTENANCE = "maintenance"
    CLOSED = "closed"


CONNECTING, LEASED, KEPT = SlotState.CONNECTING, SlotState.LEASED, SlotState.KEPT
IDLE, MAINTENANCE, CLOSED = SlotState.IDLE, SlotState.MAINTENANCE, SlotState.CLOSED


class CloseReason(enum.StrEnum):
    """Why a physical connection was closed."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    RECYCLED = "recycled"
    CHECK_FAILED = "check_failed"
    UNUSABLE = "unusable"
    RESET_FAILED = "reset_failed"
    DISCARDED = "discarded"
    SHRUNK = "shrunk"
    POOL_CLOSED = "pool_closed"
    KILLED = "killed"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


#: Names a slot among all of its process.
_numbers = itertools.count(1)


def look_into() -> bool:
    """In the place of ``Slot.watch``: a connection is to be opened, or cleaned, before its use."""
    return True


class Slot(Generic[C]):
    """A place in the pool, with its physical connection once there is one.

    The pool's lock guards every field, except that the thread that has the slot's lease may
    use ``connection`` and ``pristine``, and set ``watch``.
    """

    __slots__ = (
        *("backend_pid", "connection", "expires_at", "generation", "idle_since", "is_entered"),
        *("lease", "leased_at", "leased_in", "lost", "number", "on_lease_collected", "owner"),
        *("pristine", "scope", "stack", "state", "stays_warm", "traffic_at", "watch"),
    )

    def __init__(self, lost: Lost, generation: int) -> None:
        self.lost = lost
        self.number = next(_numbers)
        self.state = MAINTENANCE
        self.connection: C | None = None
        #: See ``Driver.watch()``, and what ``Driver.look()`` returned when it was opened.
        self.watch: Callable[[], object] = look_into
        self.pristine: object = None
        self.backend_pid: int | None = None
        self.generation = generation
        #: The lease that it belongs to; ``None`` if it belongs to none. It calls back if the lease
        #: is collected unreleased.
        self.lease: weakref.ref[Any] | None = None
        self.on_lease_collected = self._report_lost
        #: Who leased it, or for whom it is warm; ``None`` if it is cold, or shared by several.
        self.owner: Owner | None = None
        #: The unit of work that it was leased in.
        self.scope: Scope | None = None
        #: The state of that unit then; ``None`` once the pool was suspended.
        self.leased_in: ScopeState | None = RUNNING
        #: That unit gives it back when it ends; and until then it lies warm when it is not used.
        self.is_entered = self.stays_warm = False
        #: Where it was leased, until it was held for ``leak_threshold`` and that was logged.
        self.stack: StackSummary | None = None
        # Times are the pool clock's, in seconds.
        self.leased_at = self.idle_since = 0.0
        #: Last time that the server is known to have answered without being asked by a borrower.
        self.traffic_at = 0.0
        #: Retired from here on, for age.
        self.expires_at = float("inf")

    def _report_lost(self, lease: weakref.ref[Any]) -> None:
        self.lost.report(self, lease)

    @property
    def is_dirty(self) -> bool:
        """Not opened yet, or not cleaned since it was last leased."""
        return self.watch is look_into

    def has_outlived_its_unit(self) -> bool:
        """Whether its unit of work ended, or began to keep nothing warm, since it was leased."""
        return self.leased_in is not (RUNNING if self.scope is None else self.scope.state)

    def find_witness(self) -> object:
        """The lease if it was collected, or the owner if it has died; ``None`` if all is well."""
        if self.lease is not None and self.lease() is None:
            return self.lease
        return None if self.owner is None or self.owner.is_alive() else self.owner

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation}>"
