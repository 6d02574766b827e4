"""Several servers behind one alias: which of them the next unit of work reads from."""

import enum
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: Seconds for which a host that cannot be reached is left alone: after the first failure, and
#: at most. Each further failure doubles them.
FIRST_REST, LONGEST_REST = 1.0, 30.0


class HostState(enum.Enum):
    UP = "up"
    #: It could not be reached; one unit of work may try it when it has rested.
    DOWN = "down"
    #: Taken out by hand.
    DRAINING = "draining"


@dataclass(eq=False)
class Host:
    """One server. Its fields are guarded by the lock of its ``Hosts``."""

    name: str
    weight: float = 1.0
    #: How many of its connections are in use.
    count_leases: Callable[[], int] = field(default=lambda: 0, repr=False)
    state: HostState = HostState.UP
    failures: int = 0
    #: One unit of work is finding out whether it is back.
    is_tried: bool = field(default=False, repr=False)
    #: The clock's time from which on it may be tried again.
    retry_at: float = 0.0
    #: How far it is ahead of its turn: see ``Hosts._next_in_turn_locked()``.
    credit: float = field(default=0.0, repr=False)

    @property
    def load(self) -> float:
        return self.count_leases() / self.weight


class Hosts:
    """The servers of one reading role, and which of them may be read from.

    A lock that is held for a few steps of arithmetic, under which nothing blocks and no other
    lock is taken, guards all of it.
    """

    def __init__(self, hosts: Iterable[Host], now: Callable[[], float]) -> None:
        self.all = list(hosts)
        self._now = now
        # Of the kind that a finaliser may take again, which strikes while its thread has it.
        self._lock = threading.RLock()

    def choose(
        self, balance: str = "least_leases", *, other_than: Iterable[Host] = ()
    ) -> Host | None:
        """The host for one more unit of work; ``None`` if none can be read from.

        ``"least_leases"`` takes the one whose turn it is by weight, unless another one, drawn at
        random, has fewer leases for its weight (the power of two choices). ``"round_robin"``
        goes by weight alone, and ``"random"`` draws by weight.
        """
        excluded = set(other_than)
        with self._lock:
            usable = [
                host for host in self.all if host not in excluded and self._may_try_locked(host)
            ]
            if not usable:
                return None
            if balance == "random":
                chosen = random.choices(usable, [host.weight for host in usable])[0]  # noqa: S311
            else:
                chosen = self._next_in_turn_locked(usable)
            rivals = [host for host in usable if host is not chosen]
            if balance == "least_leases" and rivals:
                rival = random.choice(rivals)  # noqa: S311 - it spreads load
                chosen = rival if rival.load < chosen.load else chosen
            if chosen.state is HostState.DOWN:
                # One at a time: the others leave it alone until it is known how this went.
                chosen.is_tried, chosen.retry_at = True, self._now() + LONGEST_REST
            return chosen

    def _may_try_locked(self, host: Host) -> bool:
        if host.state is HostState.DOWN:
            return self._now() >= host.retry_at
        return host.state is HostState.UP

    def _next_in_turn_locked(self, usable: list[Host]) -> Host:
        """Smooth weighted round robin, as nginx has it: each gets its share, evenly spread."""
        for host in usable:
            host.credit += host.weight
        chosen = max(usable, key=lambda host: host.credit)
        chosen.credit -= sum(host.weight for host in usable)
        return chosen

    def note_failure(self, host: Host) -> bool:
        """The host could not be reached; whether that is news."""
        with self._lock:
            if host.state is HostState.DRAINING:
                return False
            was_up = host.state is HostState.UP
            if was_up or host.is_tried:  # Not once for each thread that it failed at the same time.
                host.state, host.is_tried = HostState.DOWN, False
                host.failures += 1
                host.retry_at = self._now() + _rest_after(host.failures)
            return was_up

    def note_success(self, host: Host) -> bool:
        """The host answered; whether it is back."""
        with self._lock:
            was_down = host.state is HostState.DOWN
            if was_down:
                host.state, host.credit = HostState.UP, 0.0
            host.failures, host.is_tried = 0, False
            return was_down

    def drain(self, name: str) -> None:
        """Choose a host no more, until ``enable()``. Raises ``KeyError`` for an unknown name."""
        with self._lock:
            self._find_locked(name).state = HostState.DRAINING

    def enable(self, name: str) -> None:
        """Undo ``drain()``, and forget failures. Raises ``KeyError`` for an unknown name."""
        with self._lock:
            host = self._find_locked(name)
            host.state, host.failures, host.credit = HostState.UP, 0, 0.0
            host.is_tried = False

    def _find_locked(self, name: str) -> Host:
        for host in self.all:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.all)
        raise KeyError(f"There is no host {name!r}; there are: {known}.")


def _rest_after(failures: int) -> float:
    return min(FIRST_REST * 2.0 ** (failures - 1), LONGEST_REST)
