"""One place in the pool, and the right to use it."""

from __future__ import annotations

import enum
import itertools
import weakref
from typing import TYPE_CHECKING, Generic

from ..exceptions import PoolError
from .driver import C
from .owner import current_owner

if TYPE_CHECKING:
    from traceback import StackSummary

    from .owner import Owner
    from .pool import ConnectionPool


class SlotState(enum.Enum):
    """Every slot is in exactly one of these; all but ``CLOSED`` count against ``max_size``."""

    #: Promised to a lease whose thread is opening the connection.
    CONNECTING = "connecting"
    #: Nobody's; in the pool's stack of idle slots.
    IDLE = "idle"
    #: A lease's.
    LEASED = "leased"
    #: The pool's own: being checked, cleaned, opened in the background or closed.
    MAINTENANCE = "maintenance"
    #: Closed and forgotten.
    CLOSED = "closed"


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


class Slot(Generic[C]):
    """A place in the pool, with its physical connection once there is one.

    The pool's lock guards every field, except that whoever a ``LEASED``, ``CONNECTING``
    or ``MAINTENANCE`` slot belongs to may use ``connection`` and set ``used_at``.
    """

    __slots__ = (
        "claim",
        "connection",
        "expires_at",
        "generation",
        "held_seconds",
        "idle_since",
        "is_dirty",
        "lease_id",
        "lease_ref",
        "leased_at",
        "owner",
        "pool",
        "retaken",
        "stack",
        "state",
        "traffic_at",
        "used_at",
    )

    def __init__(self, pool: ConnectionPool[C], generation: int) -> None:
        self.pool = pool
        self.state = SlotState.MAINTENANCE
        self.connection: C | None = None
        self.generation = generation
        #: The number of the lease that it belongs to; 0 if none. Never used twice.
        self.lease_id = 0
        #: That lease, or the last one that it belonged to.
        self.lease_ref: weakref.ref[Lease[C]] | None = None
        self.owner: Owner | None = None
        #: Of its lease: who may touch the connection.
        self.claim = Claim()
        #: Not cleaned since it was last leased.
        self.is_dirty = False
        #: Where it was leased, until it was held for ``leak_threshold`` and that was logged.
        self.stack: StackSummary | None = None
        # Times are the pool clock's, in seconds.
        self.leased_at = self.used_at = self.idle_since = 0.0
        #: Last time that the server is known to have answered.
        self.traffic_at = 0.0
        #: Retired from here on, for age.
        self.expires_at = float("inf")
        # Its lease's own part of the pool's counters, which needs no lock that way: how often
        # the lease was retaken, and for how many seconds it was held before that.
        self.retaken = 0
        self.held_seconds = 0.0

    def is_forsaken(self) -> bool:
        """Whether it belongs to a lease that is gone, or to an owner that is dead."""
        if not self.lease_id or self.lease_ref is None:
            return False
        owner = self.owner
        return self.lease_ref() is None or (owner is not None and not owner.is_alive())

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} generation={self.generation} lease={self.lease_id}>"


#: Where the owner puts a token down, and so who may take it: only the end of its unit of
#: work, also a waiter if the pool is exhausted, or anybody at all.
KEPT, FREE, PARKED = "kept", "free", "parked"


class Claim:
    """Decides, without a lock, whether a lease is its owner's to use or anybody's to take.

    There is one token. The owner has it while it uses the connection. When it stops, it
    puts the token down: ``KEPT``, ``FREE`` or ``PARKED``. Whoever wants the connection,
    the owner included, picks the token up first. ``dict.pop`` with a default is one atomic
    operation, under the GIL and (by the dict's own lock) without it, so exactly one of
    them gets it:

    1. Owner and reclaimer pop at once: one gets nothing. If that is the owner, the lease
       is lost, and it leases anew; nothing of its connection is touched by it again.
    2. A waiter finds no token because the owner is still using the connection: the owner
       looks at the queue *after* it put the token down, and the waiter was in the queue
       *before* it looked for tokens, so one of the two sees the other.
    3. The owner puts it down elsewhere only while it has the token itself.
    """

    __slots__ = ("is_due", "place", "token")

    def __init__(self) -> None:
        #: By the place where it lies, or nothing. What is written out elsewhere, for speed,
        #: does to it what the methods below do.
        self.token: dict[str, bool] = {}
        self.place = FREE
        #: The unit of work is over: give the connection back at the next opportunity.
        self.is_due = False

    def put_down(self, place: str) -> None:
        """The owner's: stop using the connection."""
        self.place = place
        self.token[place] = True

    def pick_up(self) -> bool:
        """The owner's: use the connection again; false if somebody took it."""
        return self.token.pop(self.place, False)

    def reclaim(self) -> bool:
        """A waiter's: take it if it is free."""
        return self.token.pop(FREE, False)

    def collect(self) -> bool:
        """The end of the unit's: take it unless it is in use."""
        return self.token.pop(FREE, False) or self.token.pop(KEPT, False)

    def unpark(self) -> bool:
        """Anybody's: take it if it is parked."""
        return self.token.pop(PARKED, False)


_next_lease_id = itertools.count(1).__next__


class Lease(Generic[C]):
    """The right of its holder to use one slot's connection, until it is released.

    The lease *is* the claim: it exists before the slot is promised to it, and the pool
    holds no reference to it except while it waits in the queue. So a slot whose holder
    was interrupted, killed or forgotten at any point comes back when its lease is
    collected.

    A release does not always go through the pool's lock: the lease may be *parked*. Its
    connection is clean then and counts as idle, and it goes to whoever comes first: to
    any thread by way of the pool (``Shelf.gather``), or to the thread that parked it,
    which retakes the lease for the price of picking up the token. So threads that do not
    have to share connections do not meet at the lock (as with the thread-local list of
    HikariCP's ``ConcurrentBag``), and each stays with the one that it used last.
    """

    __slots__ = ("__weakref__", "_parked", "_slot", "claim", "epoch", "id", "is_known", "pool")

    def __init__(self, pool: ConnectionPool[C]) -> None:
        self.pool = pool
        self.id = _next_lease_id()
        self.claim = Claim()
        self._slot: Slot[C] | None = None  # Set by the pool, before it marks the slot.
        self._parked: Slot[C] | None = None
        #: The pool's when it was taken; parked only if nothing has been decided since.
        self.epoch = 0
        #: Whether a unit of work has heard of it.
        self.is_known = False

    @property
    def slot(self) -> Slot[C]:
        """The slot that it was promised; ``PoolError`` once it is another's."""
        slot = self._slot
        if slot is None:
            raise PoolError("This lease was released; check out another.")
        if slot.lease_id != self.id:
            raise PoolError(
                "This lease was lost: its thread ended, the process forked, or the pool "
                "took it back. Check out another."
            )
        return slot

    @property
    def connection(self) -> C:
        """The physical connection."""
        slot = self._slot
        if slot is None or slot.lease_id != self.id:
            slot = self.slot  # Says what is wrong.
        connection = slot.connection
        if connection is None:
            raise PoolError(
                "This lease has no connection yet: use it when checkout() has returned."
            )
        return connection

    def slot_to_gather(self) -> Slot[C] | None:
        """The slot that was parked, unless its thread has it again."""
        slot = self._parked
        return slot if slot is not None and self.claim.unpark() else None

    def succeed(self) -> Lease[C]:
        """Another lease in the place of this one, which has ended."""
        slot = self.slot
        lease: Lease[C] = Lease(self.pool)
        lease.epoch = self.epoch
        lease._slot = slot
        slot.claim = lease.claim
        slot.lease_ref = weakref.ref(lease)
        slot.lease_id = lease.id
        self._slot = None
        if slot.owner is not None:
            slot.owner.held[slot] = lease.id
        return lease

    def renew(self) -> None:
        """Be another lease to the units of work that knew this one."""
        self.is_known = False
        # A claim of its own too: another thread may be about to end a unit that knew this
        # lease, and it may take back nothing but what it knew.
        claim = self.claim = Claim()
        slot = self._slot
        if slot is not None:
            slot.claim = claim
            self.id = slot.lease_id = _next_lease_id()
            if slot.owner is not None:
                slot.owner.held[slot] = self.id

    def begin_again(self) -> bool:
        """Be ready for another slot; false if it may not be over.

        With a number that nobody has heard of: what was reported of this lease is about a slot
        that it had before.
        """
        if self._slot is not None or (self._parked is not None and not self.is_over()):
            return False
        self._parked = None
        self.id = _next_lease_id()
        return True

    def is_over(self) -> bool:
        """Whether what it had or parked is not its own any more."""
        slot = self._slot or self._parked or self._slot  # It may be retaken meanwhile.
        return slot is None or slot.lease_id != self.id

    def is_held(self) -> bool:
        """True from the checkout until the release, the reaping or a fork."""
        slot = self._slot
        return slot is not None and slot.lease_id == self.id

    def release(self) -> None:
        """Give the connection back, clean; it is closed instead if that cannot be."""
        if self.pool.check_in(self) is None:
            _ = self.slot  # Says what is wrong.

    def take_back(self, claim: Claim | None = None) -> bool:
        """From any thread: release it unless it is in use; if it is, when that use ends.

        Only while it has the same ``claim``, if one is given. First the wish, then the look,
        while the owner puts the token down first and then looks for the wish: one of them
        sees the other.
        """
        if not self.is_held():
            return False
        claim = claim or self.claim
        claim.is_due = True
        if not claim.collect():
            return False
        # From here on it is a lease of this thread's: should the owner die meanwhile, or
        # this be interrupted, the right one is reported.
        lease = self.pool.take_over(self)
        if lease is None:
            return False  # Lost since: its owner died just now.
        lease.release()
        return True

    def abandon(self, claim: Claim) -> None:
        """As ``take_back()``, from a finaliser: the pool sees to it soon, on another thread."""
        claim.is_due = True
        if claim.collect():
            slot = self._slot  # Not before, or it may be one that this lease had earlier.
            if slot is not None:
                self.pool.report_orphan(slot, self.id)

    def discard(self) -> None:
        """Give the slot back and close its connection, whatever state it is in."""
        self.pool.discard(self)

    def share(self) -> None:
        """Outlive the thread that took it, because others use it too: only release it."""
        slot = self.slot
        owner, slot.owner = slot.owner, None
        if owner is not None:
            owner.held.pop(slot, None)

    def unshare(self) -> None:
        """Be the calling thread's alone again."""
        slot, owner = self.slot, current_owner()
        slot.owner = owner
        owner.held[slot] = self.id

    def forget(self) -> None:
        """Let go without giving anything back, because the slot is another's by now."""
        self._slot = None

    def __del__(self) -> None:
        # There are none if it was interrupted at its birth.
        try:
            slot = self._slot or self._parked
        except AttributeError:
            return
        if slot is not None and slot.lease_id == self.id:
            self.pool.report_orphan(slot, self.id)

    def __repr__(self) -> str:
        state = "held" if self.is_held() else "ended"
        return f"<Lease {self.id} of pool {self.pool.name!r}, {state}>"
