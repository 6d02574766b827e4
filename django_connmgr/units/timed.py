"""Units of work that have to be done with their databases at a certain time."""

from threading import RLock

from .._pool.cause import Deadline
from .._pool.scope import OVER, Home, Scope, timed


class TimedScope(Scope):
    """As ``Scope``; at its deadline what is leased in it is given back or killed.

    So the deadline reaches a query that runs, and costs no statement: a connection that was
    killed is closed, and no other owner sees a limit or a cancellation that was meant for this one.
    """

    __slots__ = ("_is_ending", "deadline", "outer")

    deadline: Deadline  # type: ignore[misc]

    def __init__(self, name: str, deadline: Deadline) -> None:
        super().__init__(name)
        self.deadline = deadline
        #: What its thread had leased before: pool, slot and beginning of each lease.
        self.outer: list[tuple[Home, int, float]] = []
        # Held while leases are ended because of the deadline, and by the end of the unit: after
        # its end nothing is killed. It cannot deadlock: pools' locks are taken under it, and not
        # the other way round. A finaliser that ends the unit may run on a thread that has it.
        self._is_ending = RLock()

    def end(self) -> int:
        with self._is_ending:
            self.state = OVER
        timed.pop(self, None)
        return super().end()

    def abandon(self) -> None:
        timed.pop(self, None)
        super().abandon()

    def has_leases(self) -> bool:
        """Whether there is anything to end. No round trip."""
        return (
            bool(self.slots)
            or any(pool.leases_in(self) for pool in self.takes.copy())
            or any(pool.is_busy(slot, since) for pool, slot, since in self.outer)
        )

    def expire(self) -> None:
        """End what is leased in it: kill what is in use, give the rest back.

        And kill the query that runs, if its thread runs one, on a connection that the thread had
        leased in a unit around it. Talks to servers.
        """
        with self._is_ending:
            if self.state is OVER:
                return
            self.become_eager()
            for pool in self.takes.copy():
                for slot, since in pool.leases_in(self):
                    pool.kill(slot, since, self, self.deadline)
            for pool, slot, since in self.outer:
                if pool.is_busy(slot, since):
                    pool.kill(slot, since, None, self.deadline)
