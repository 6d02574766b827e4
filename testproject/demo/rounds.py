"""The demonstration: one round on the pool, one on stock Django, and a table of both."""

from __future__ import annotations

import sys
import time
from functools import partial

from django.core.management.base import OutputWrapper

from .client import RequestError
from .connections import ConnectionCounter
from .database import Database, DemoError, open_database
from .engine import Engine
from .faults import FaultInjector
from .processes import manage
from .progress import Progress
from .result import Result, summarize
from .server import Server
from .table import render
from .traffic import Traffic
from .verdict import broken_promises

#: Between two updates of the progress, in seconds.
PAUSE = 0.05


def run_demo(
    stdout: OutputWrapper, *, clients: int, requests: int, keeps_page: bool = False
) -> list[str]:
    """Run both rounds and print the table; returns what went wrong on the pool.

    With ``keeps_page``, the pool's server stays until the user presses Enter. Raises ``DemoError``
    if the rounds cannot be run.
    """
    with open_database() as database:
        database.connect("shop-demo").close()  # Fails here if the server cannot be reached.
        manage(Engine.POOLED.environment(database.url), "migrate", "--verbosity=0")
        served = partial(run_round, stdout=stdout, clients=clients, requests=requests)
        pooled = served(Engine.POOLED, database, keeps_page=keeps_page)
        stock = served(Engine.STOCK, database)
    stdout.write("\n" + render(pooled, stock))
    return broken_promises(pooled, requested=requests)


def run_round(
    engine: Engine,
    database: Database,
    stdout: OutputWrapper,
    *,
    clients: int,
    requests: int,
    keeps_page: bool = False,
) -> Result:
    """Serve the shop, send the traffic, kill connections meanwhile, and count."""
    name = engine.application_name
    environment = engine.environment(database.url)
    with database.connect("shop-demo") as connection:
        manage(environment, "fill_shop", f"--orders={max(100, requests // 4 + 1)}")
        injector = FaultInjector(connection, name)
        progress = Progress(stdout, engine.value, requests)
        with ConnectionCounter(database, name) as counter, Server(environment) as server:
            if keeps_page:
                stdout.write(f"The page: http://{server.host}:{server.port}/connmgr/")
                stdout.flush()
            traffic = Traffic(server.host, server.port, clients=clients, requests=requests)
            try:
                traffic.start()
                while traffic.is_running():
                    progress.show(traffic.done)
                    injector.advance(traffic.done / requests)
                    time.sleep(PAUSE)
            except RequestError as error:
                raise DemoError(f"The shop does not work: {error}\n{server.log()}") from error
            finally:
                traffic.stop()
            pool = server.pool() if engine is Engine.POOLED else {}
            if keeps_page:
                stdout.write("Press Enter to go on.")
                stdout.flush()
                sys.stdin.readline()
    result = summarize(traffic.outcomes, injector, peak=counter.peak, pool=pool)
    progress.finish(result.seconds)
    return result
