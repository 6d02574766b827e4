"""``python -m benchmarks.fleet``: a thousand processes on paper, from the figures of one.

Requests arrive at each process at random, wait for a connection of its pool, then for one of the
pooler's if there is one, and hold both. It tells the connections at the server, the waits, and what
fails first.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

#: After so many seconds without use a pool closes a connection: ``max_idle``.
MAX_IDLE = 300.0


@dataclass(frozen=True)
class Fleet:
    """What is simulated. Times are in seconds."""

    processes: int = 1_000
    #: Requests per second, of each process.
    rate: float = 20.0
    #: How long a request holds a connection, on average: ``hold_seconds / checkouts`` of
    #: ``stats()``, times the checkouts of a request.
    held: float = 0.025
    #: ``max_size``; and ``timeout``.
    pool: int = 5
    timeout: float = 2.0
    #: Connections of the pooler to the server; ``None``: there is no pooler.
    pooler: int | None = None
    #: ``max_connections`` of the server, less those that are reserved.
    server: int = 700
    #: How long a spike of twice the rate lasts, in the middle.
    spike: float = 1.0
    seconds: float = 4.0


@dataclass
class Outcome:
    requests: int = 0
    #: Seconds that each request waited: for its pool, and for the pooler.
    pool_waits: list[float] = field(default_factory=list)
    pooler_waits: list[float] = field(default_factory=list)
    timeouts: int = 0
    #: The most connections that the processes had open, and that were used, at the server.
    opened: int = 0
    used: int = 0

    def fails(self, fleet: Fleet) -> str:
        """What fails first."""
        at_server = self.used if fleet.pooler is not None else self.opened
        if at_server > fleet.server:
            return f"the server: {at_server:,} connections, {fleet.server:,} allowed"
        if self.timeouts:
            return f"requests: {self.timeouts:,} of {self.requests:,} time out"
        return "nothing"


class Simulation:
    """Events in the order of their times. All that is random comes from one seed."""

    def __init__(self, fleet: Fleet, seed: int = 1) -> None:
        self.fleet = fleet
        self.outcome = Outcome()
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._events: list[tuple[float, int, int]] = []  # When, which process, and what.
        self._busy = [0] * fleet.processes
        self._open = [0] * fleet.processes
        self._queues: list[deque[float]] = [deque() for _ in range(fleet.processes)]
        #: Requests that have a connection to the pooler and wait for one of its own.
        self._at_pooler: deque[tuple[float, int]] = deque()
        self._used = 0

    _ARRIVES, _ENDS = 0, 1

    def run(self) -> Outcome:
        for process in range(self.fleet.processes):
            self._expect_arrival(0.0, process)
        while self._events:
            now, process, what = heapq.heappop(self._events)
            if what == self._ARRIVES:
                self._expect_arrival(now, process)
                self.outcome.requests += 1
                self._queues[process].append(now)
            else:
                self._leave(now, process)
            self._serve(now, process)
        self.outcome.opened = sum(self._open)
        return self.outcome

    def _expect_arrival(self, now: float, process: int) -> None:
        fleet = self.fleet
        middle = fleet.seconds / 2
        is_spike = middle <= now < middle + fleet.spike
        at = now + self._random.expovariate(fleet.rate * (2 if is_spike else 1))
        if at < fleet.seconds:
            heapq.heappush(self._events, (at, process, self._ARRIVES))

    def _serve(self, now: float, process: int) -> None:
        """First come, first served, while the pool has a connection."""
        queue = self._queues[process]
        while queue and self._busy[process] < self.fleet.pool:
            came = queue.popleft()
            waited = now - came
            if waited > self.fleet.timeout:
                self.outcome.timeouts += 1
                continue
            self.outcome.pool_waits.append(waited)
            self._busy[process] += 1
            # Open for the rest of the simulation, which is shorter than ``MAX_IDLE``.
            self._open[process] = max(self._open[process], self._busy[process])
            self._at_pooler.append((now, process))
            self._pass_pooler(now)

    def _pass_pooler(self, now: float) -> None:
        pooler = self.fleet.pooler
        while self._at_pooler and (pooler is None or self._used < pooler):
            came, process = self._at_pooler.popleft()
            self.outcome.pooler_waits.append(now - came)
            self._used += 1
            self.outcome.used = max(self.outcome.used, self._used)
            ends = now + self._random.expovariate(1 / self.fleet.held)
            heapq.heappush(self._events, (ends, process, self._ENDS))

    def _leave(self, now: float, process: int) -> None:
        self._busy[process] -= 1
        self._used -= 1
        self._pass_pooler(now)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all are not above; 0 if there is none."""
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0


def scenarios(fleet: Fleet) -> Iterator[tuple[str, Fleet]]:
    """What is compared: a connection for each thread, pools, and pools before a pooler."""
    yield "a connection per thread, 40 threads", replace(fleet, pool=40)
    yield "pools of 5", fleet
    yield "pools of 2", replace(fleet, pool=2)
    yield "pools of 1", replace(fleet, pool=1)
    enough = int(fleet.processes * fleet.rate * fleet.held * 1.3)
    yield f"pools of 5, a pooler of {enough}", replace(fleet, pooler=enough)
    yield f"pools of 5, a pooler of {enough // 2}", replace(fleet, pooler=enough // 2)


def table(fleet: Fleet) -> Iterator[str]:
    """In Markdown."""
    yield "| | at the server | wait for the pool: half, 99 % | for the pooler | what fails first |"
    yield "| --- | --- | --- | --- | --- |"
    for name, one in scenarios(fleet):
        outcome = Simulation(one).run()
        at_server = outcome.opened if one.pooler is None else outcome.used
        half, most = (percentile(outcome.pool_waits, share) * 1_000 for share in (0.5, 0.99))
        pooler = percentile(outcome.pooler_waits, 0.99) * 1_000
        behind = "-" if one.pooler is None else f"{pooler:,.0f} ms"
        yield (
            f"| {name} | {at_server:,} | {half:,.0f} ms, {most:,.0f} ms | {behind} "
            f"| {outcome.fails(one)} |"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    given = Fleet()
    for name in ("processes", "pool", "server"):
        parser.add_argument(f"--{name}", type=int, default=getattr(given, name))
    for name in ("rate", "held", "timeout", "spike", "seconds"):
        parser.add_argument(f"--{name}", type=float, default=getattr(given, name))
    fleet = Fleet(**vars(parser.parse_args(arguments)))
    if fleet.seconds > MAX_IDLE:
        parser.error(f"--seconds: at most {MAX_IDLE:g}, after which pools close connections")
    sys.stdout.writelines(f"{line}\n" for line in table(fleet))
    return 0


if __name__ == "__main__":
    sys.exit(main())
