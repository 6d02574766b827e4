"""The right to use one slot's connection."""

from typing import Generic, Protocol

from .driver import C
from .scope import Home
from .slot import Slot


class Holder(Protocol):
    """What has a lease, if it can say why the lease is not over yet."""

    def describe_holds(self) -> tuple[str, ...]: ...


class Lease(Generic[C]):
    """The right of its owner to use one slot's connection, until it is released.

    It exists before a slot is promised to it, and the pool holds no reference to it except while
    it waits in the queue. So a slot whose owner was interrupted, killed or forgotten at any point
    comes back when its lease is collected.
    """

    __slots__ = ("__weakref__", "holder", "pool", "slot")

    def __init__(self, pool: Home, holder: Holder | None = None) -> None:
        self.pool = pool
        self.holder = holder
        #: Set by the pool before it marks the slot, and taken away when the lease is over.
        self.slot: Slot[C] | None = None

    def is_held(self) -> bool:
        """True from the moment that a slot is promised until the release, the reaping or a fork."""
        slot = self.slot
        return slot is not None and slot.lease is not None and slot.lease() is self

    def held_slot(self) -> Slot[C]:
        """The slot; the pool's error, which says what to do, if the lease is over."""
        slot = self.slot
        if slot is None or not self.is_held():
            error = self.pool.error_of_killed(self)
            raise error or self.pool.errors.error(
                "This lease is over: it was released, its thread ended, another thread ended its "
                "unit of work, or the process forked. Acquire another."
            )
        return slot

    @property
    def connection(self) -> C:
        """The physical connection; the pool's error if the lease is over."""
        connection = self.held_slot().connection
        if connection is None:
            raise self.pool.errors.error(
                "This lease has no connection yet: use it when acquire() has returned."
            )
        return connection

    def release(self, *, is_warm: bool = False) -> None:
        """Give the connection back, clean; it is closed instead if that cannot be.

        With ``is_warm`` it stays reserved for its owner, until its unit of work ends.
        """
        if not self.pool.release(self, is_warm=is_warm):
            self.held_slot()  # Says what is wrong.

    def discard(self) -> None:
        """Give the slot back and close its connection, whatever state it is in."""
        self.pool.discard(self)

    def __repr__(self) -> str:
        return f"<Lease of pool {self.pool.name!r}, {'held' if self.is_held() else 'over'}>"
