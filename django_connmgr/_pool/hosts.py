"""Several servers behind one alias: which of them the next unit of work reads from."""

import random
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .host import (
    DOWN,
    DRAINING,
    PROBATION,
    PROMOTED,
    SUSPECT,
    UP,
    Bounds,
    Change,
    Host,
    HostState,
    Report,
)
from .lag import Lag
from .position import Position

#: Seconds for which a host that cannot be reached is left alone: after the first failure, and
#: at most. Each further failure doubles them.
FIRST_REST, LONGEST_REST = 1.0, 30.0
#: A host that comes back is read from after so many good probes. For so many seconds after that
#: its share grows from a tenth to the whole.
GOOD_PROBES, SLOW_START = 3, 10.0
#: A host that was excluded for its lag comes back after so many probes at half of the limit.
GOOD_LAGS = 2


class Hosts:
    """The servers of one reading role, and which of them may be read from.

    A lock that is held for a few steps of arithmetic, under which nothing blocks and no other
    lock is taken but a pool's, for its counting of leases. No pool's lock is held when this one
    is taken.
    """

    def __init__(self, hosts: Iterable[Host], now: Callable[[], float]) -> None:
        self.all = list(hosts)
        self._now = now
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: another thread may have had the lock, and nothing probes here yet."""
        # Of the kind that a finaliser may take again, which strikes while its thread has it.
        self._lock = threading.RLock()
        self._probed_until = float("-inf")

    @property
    def is_probed(self) -> bool:
        """Whether probes tell when a host that is down is back: if not, a unit has to try it."""
        return self._now() < self._probed_until

    def note_probing(self, seconds: float) -> None:
        """Probes look after the hosts, and will say so again within so many seconds."""
        self._probed_until = self._now() + seconds

    # Choosing

    def choose(
        self,
        balance: str = "least_leases",
        *,
        other_than: Collection[Host] = (),
        required: Position | None = None,
        max_lag: float | None = None,
        may_lag: bool = False,
    ) -> Host | None:
        """The host for one more unit of work; ``None`` if none can be read from.

        ``"least_leases"`` takes the one whose turn it is by weight, unless another one, drawn at
        random, has fewer leases for its weight (the power of two choices). ``"round_robin"``
        goes by weight alone, and ``"random"`` draws by weight.

        Those that are known to have replayed ``required`` are preferred; one that lags by more
        than ``max_lag`` seconds is not chosen. If all are excluded for their lag, the one
        that lags least is chosen if it ``may_lag``.
        """
        with self._lock:
            hosts = [host for host in self.all if host not in other_than]
            if max_lag is not None:
                hosts = [host for host in hosts if host.lag and host.lag.seconds <= max_lag]
            usable = self._find_usable_locked(hosts, may_lag)
            if not usable:
                return None
            usable = [host for host in usable if host.has_replayed(required)] or usable
            if balance == "random":
                weights = [self._weight_locked(host) for host in usable]
                chosen = random.choices(usable, weights)[0]  # noqa: S311
            else:
                chosen = self._next_in_turn_locked(usable)
            rivals = [host for host in usable if host is not chosen]
            if balance == "least_leases" and rivals:
                rival = random.choice(rivals)  # noqa: S311 - it spreads load
                chosen = rival if rival.load < chosen.load else chosen
            if chosen.state is DOWN:
                # One at a time: the others leave it alone until it is known how this went.
                chosen.is_tried, chosen.retry_at = True, self._now() + LONGEST_REST
            return chosen

    def _find_usable_locked(self, hosts: list[Host], may_lag: bool) -> list[Host]:
        usable = [host for host in hosts if self._may_try_locked(host)]
        usable = [host for host in usable if host.state is not SUSPECT] or usable
        fresh = [host for host in usable if not host.is_lagging]
        if fresh or not usable or not may_lag:
            return fresh
        return [min(usable, key=lambda host: host.lag[::-1] if host.lag else (float("inf"),))]

    def furthest(self, among: Iterable[Host]) -> Host | None:
        """Of those that may be read from, the one that has replayed most."""
        with self._lock:
            usable = [host for host in among if not host.why_excluded]
            return max(usable, key=lambda host: host.replayed or (0, 0), default=None)

    def _may_try_locked(self, host: Host) -> bool:
        if host.state is DOWN:
            return not self.is_probed and self._now() >= host.retry_at
        return host.state in {UP, SUSPECT}

    def _next_in_turn_locked(self, usable: list[Host]) -> Host:
        """Smooth weighted round robin, as nginx has it: each gets its share, evenly spread."""
        total = 0.0
        for host in usable:
            weight = self._weight_locked(host)
            host.credit += weight
            total += weight
        chosen = max(usable, key=lambda host: host.credit)
        chosen.credit -= total
        return chosen

    def _weight_locked(self, host: Host) -> float:
        """Its share by now: one that came back has empty caches, and gets it by and by."""
        share = (self._now() - host.up_since) / SLOW_START
        return host.weight if share >= 1.0 else host.weight * max(share, 0.1)

    # What was learnt of a host

    def note_failure(self, host: Host) -> Change | None:
        """The host could not be reached by a unit of work: it is down at once."""
        with self._lock:
            was_up = host.state is not DOWN
            if host.is_fixed or host.state in {DRAINING, PROMOTED}:
                return None
            if was_up or host.is_tried:  # Not once for each thread that it failed at the same time.
                return self._go_down_locked(host)
            return None

    def note_success(self, host: Host) -> Change | None:
        """The host answered a unit of work."""
        with self._lock:
            host.is_tried = False
            if host.is_fixed or host.state is not DOWN:
                return None
            if self.is_probed:
                return None  # By a connection from before. The probes say when it is back.
            return self._come_back_locked(host)

    def note_no_answer(self, host: Host, *, is_silent: bool) -> Change | None:
        """A probe failed. One that was only left unanswered has to fail twice in a row."""
        with self._lock:
            if host.is_fixed or host.state in {DRAINING, PROMOTED}:
                return None
            if is_silent and host.state is UP:
                return self._change_locked(host, SUSPECT)
            return self._go_down_locked(host)

    def note_report(
        self, host: Host, report: Report, lag: Lag | None, bounds: Bounds, asked_at: float
    ) -> Change | None:
        """The host answered a probe that was sent at ``asked_at``."""
        with self._lock:
            if host.is_fixed:
                return None
            host.lag = lag
            self._note_position_locked(host, report.position, asked_at)
            self._note_lag_locked(host, bounds)
            if not report.is_standby:
                return self._note_promotion_locked(host)
            if host.state in {DOWN, PROMOTED}:
                host.good_probes = 1
                return self._change_locked(host, PROBATION)
            if host.state is PROBATION:
                host.good_probes += 1
                if host.good_probes < GOOD_PROBES:
                    return None
                host.up_since = self._now()
                return self._come_back_locked(host)
            return self._change_locked(host, UP) if host.state is SUSPECT else None

    def note_position(self, host: Host, position: Position | None, asked_at: float) -> None:
        """A unit of work has asked the host, at ``asked_at``, how far it is."""
        with self._lock:
            self._note_position_locked(host, position, asked_at)

    def _note_position_locked(self, host: Host, position: Position | None, asked_at: float) -> None:
        if asked_at >= host.asked_at:  # Not an answer that was overtaken by one from after it.
            host.replayed, host.asked_at = position, asked_at

    def note_promotion(self, host: Host) -> Change | None:
        """The host takes writes: it leaves the reading set at once."""
        with self._lock:
            return self._note_promotion_locked(host)

    def _note_promotion_locked(self, host: Host) -> Change | None:
        if host.is_fixed or host.state in {PROMOTED, DRAINING}:
            return None
        return self._change_locked(host, PROMOTED)

    def _note_lag_locked(self, host: Host, bounds: Bounds) -> None:
        if host.lag is None:
            return
        if not bounds.are_kept_by(host.lag):
            host.is_lagging, host.good_lags = True, 0
        elif host.is_lagging:
            host.good_lags = host.good_lags + 1 if bounds.are_kept_by(host.lag, 0.5) else 0
            host.is_lagging = host.good_lags < GOOD_LAGS

    def _go_down_locked(self, host: Host) -> Change | None:
        host.is_tried, host.good_probes = False, 0
        host.replayed = host.lag = None
        rest = FIRST_REST * 2 ** min(host.failures, 10)
        host.failures += 1
        host.retry_at = self._now() + min(rest, LONGEST_REST)
        return self._change_locked(host, DOWN)

    def _come_back_locked(self, host: Host) -> Change | None:
        host.failures, host.credit = 0, 0.0
        host.good_probes, host.is_tried = 0, False
        return self._change_locked(host, UP)

    def _change_locked(self, host: Host, state: HostState) -> Change | None:
        before, host.state = host.state, state
        return None if before is state else Change(host, before, state)

    # By hand

    def drain(self, name: str) -> None:
        """Choose a host no more, until ``enable()``. Raises ``KeyError`` for an unknown name."""
        with self._lock:
            self._find_locked(name).state = DRAINING

    def enable(self, name: str) -> None:
        """Undo ``drain()``, and forget failures. Raises ``KeyError`` for an unknown name."""
        with self._lock:
            host = self._find_locked(name)
            host.state, host.failures, host.credit = UP, 0, 0.0
            host.is_tried = host.is_lagging = False

    @contextmanager
    def fixed(self, host: Host, **fields: Any) -> Iterator[None]:
        """In the block, a host is as a test says, whatever is noted of it."""
        with self._lock:
            before = {name: getattr(host, name) for name in ("is_fixed", *fields)}
            vars(host).update(fields, is_fixed=True)
        try:
            yield
        finally:
            with self._lock:
                vars(host).update(before)

    def _find_locked(self, name: str) -> Host:
        for host in self.all:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.all)
        raise KeyError(f"There is no host {name!r}; there are: {known}.")
