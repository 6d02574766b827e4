"""The demonstration of replicas: clients read what they wrote while servers come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.core.management.base import OutputWrapper

from ..cluster import ServerMissing
from ..replication import Replication, running_replication
from .client import RequestError
from .database import DemoError
from .engine import Engine
from .members import MemberCounter
from .processes import manage
from .server import Server
from .visitors import Visitors, Visits

NAME = "shop-replicas"
#: Connections at most in each pool.
MAX_SIZE = 4
#: How long each act lasts, and how long there is no primary, in seconds.
ACT, OUTAGE = 3.0, 1.0


@dataclass
class Story:
    """What happened."""

    visits: Visits
    #: The names of the servers, by port; the most connections that each of them counted.
    names: dict[int, str]
    peaks: dict[str, int]
    #: From when until when there was no primary.
    outage: tuple[float, float]


def run_failover(stdout: OutputWrapper, *, clients: int, act: float = ACT) -> Story:
    """Serve the shop on a primary and two standbys, and break those. Raises ``DemoError``."""
    try:
        with running_replication() as replication:
            return _play(stdout, replication, clients, act)
    except ServerMissing as error:
        raise DemoError(str(error)) from error


def _play(stdout: OutputWrapper, replication: Replication, clients: int, act: float) -> Story:
    environment = _environment(replication)
    manage(environment, "migrate", "--verbosity=0")
    manage(environment, "fill_shop", "--orders=100")
    # What was committed is on the standby that will be promoted: no order is lost with a primary.
    first, second = (standby.name for standby in replication.replicas)
    replication.primary.override("synchronous_standby_names", f"FIRST 1 ({first}, {second})")
    replication.await_replayed()
    names = {server.port: server.name for server in replication.servers}
    outage: list[float] = []
    with MemberCounter(replication.servers, NAME) as counter, Server(environment) as server:
        visitors = Visitors(server.host, server.port, clients=clients)
        try:
            visitors.start()
            for title, begin in _acts(replication, outage):
                before = visitors.reads
                begin()
                time.sleep(act)
                stdout.write(f"{title:<52} {visitors.reads - before:>7,} reads")
        except RequestError as error:
            raise DemoError(f"The shop does not work: {error}\n{server.log()}") from error
        finally:
            visitors.stop()
    return Story(visitors.visits, names, counter.peaks, (outage[0], outage[1]))


def _acts(
    replication: Replication, outage: list[float]
) -> Iterator[tuple[str, Callable[[], None]]]:
    old, first, second = replication.servers

    def replace_primary() -> None:
        outage.append(time.monotonic())
        old.kill()
        time.sleep(OUTAGE)
        replication.promote(first)
        outage.append(time.monotonic())
        replication.repoint(second)

    yield "All is well", lambda: None
    yield f"{first.name} shows nothing new any more", first.pause_replay
    yield f"{first.name} goes on", first.resume_replay
    yield f"{second.name} is killed", second.kill
    yield f"{second.name} is started again", second.start
    yield f"{old.name} is killed, and {first.name} promoted", replace_primary


def _environment(replication: Replication) -> dict[str, str]:
    servers = [f"{one.name}={one.host}:{one.port}" for one in replication.servers]
    return {
        **Engine.POOLED.environment(replication.primary.url),
        "DATABASE_POOL": f"max_size={MAX_SIZE}",
        "DATABASE_SERVERS": ",".join(servers),
        "PGAPPNAME": NAME,
        # While there is no primary, none can read in the place of a busy standby.
        "REPLICA_WAIT": "2",
    }
