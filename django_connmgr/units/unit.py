"""A unit of work: a request, a task, a message. Leases belong to the unit that took them."""

from collections import Counter
from typing import Any, ClassVar, Self

from .._pool.scope import OVER, Scope


class Unit:
    """What leases are released with. One object, shared by all who work on the unit.

    The current unit is a context variable, so threads and tasks that are started with a copy of
    the context (``sync_to_async``, child tasks, our executors) lease for the same unit. The pools
    know its ``scope`` only: so a unit that never ends, as of a request that a server cancels, is
    collected, and gives up its leases then.
    """

    __slots__ = ("__weakref__", "is_request", "memory", "parent", "scope")

    #: Whether others may begin in it that are no part of it: see ``CommandUnit``.
    is_command: ClassVar[bool] = False

    def __init__(self, name: str, parent: Self | None = None, *, is_request: bool = False) -> None:
        self.scope = Scope(name)
        #: The one around it.
        self.parent = parent
        self.is_request = is_request
        #: Of ``consistency.memory``, once there is anything to remember.
        self.memory: Any = None

    @property
    def name(self) -> str:
        return self.scope.name

    @property
    def counts(self) -> dict[str, int]:
        """Checkouts by alias."""
        counts: Counter[str] = Counter()
        for pool, number in self.scope.takes.copy().items():
            counts[pool.name.partition("@")[0]] += number  # One alias may have several servers.
        return dict(counts)

    @property
    def is_over(self) -> bool:
        return self.scope.state is OVER

    @property
    def time_left(self) -> float | None:
        """Seconds until its deadline, negative once that has passed; ``None`` without one."""
        deadline = self.scope.deadline
        return None if deadline is None else deadline.time_left()

    def end(self) -> int:
        return self.scope.end()

    def __del__(self) -> None:
        try:
            if self.scope.state is not OVER:
                self.scope.abandon()
        except AttributeError:
            pass  # It was interrupted at its birth.

    def __repr__(self) -> str:
        return f"<Unit {self.name!r}, {'over' if self.is_over else 'running'}>"


class CommandUnit(Unit):
    """Of a management command, which may be a server's or a worker's."""

    __slots__ = ()

    is_command = True
