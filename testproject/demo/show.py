"""The demonstration itself: one round on the pool, one on stock Django, and a table."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

from django.core.management.base import OutputWrapper

from ..settings import BASE_DIR
from .census import Census
from .client import RequestError
from .database import Database, DemoError, open_database
from .engine import Engine
from .mischief import Mischief
from .progress import Progress
from .result import Result, sum_up
from .server import Server
from .table import render
from .traffic import Traffic
from .verdict import faults

#: Between two looks at how far the traffic is, in seconds.
PAUSE = 0.05


def give(stdout: OutputWrapper, *, clients: int, requests: int) -> list[str]:
    """Give the demonstration; returns what went wrong on the pool. Raises ``DemoError``."""
    with open_database() as database:
        database.connect("shop-demo").close()  # First of all, see that it is there.
        _manage(Engine.POOLED.environment(database.url), "migrate", "--verbosity=0")
        pooled = play(Engine.POOLED, database, stdout, clients=clients, requests=requests)
        stock = play(Engine.STOCK, database, stdout, clients=clients, requests=requests)
    stdout.write("\n" + render(pooled, stock))
    return faults(pooled, requested=requests)


def play(
    engine: Engine, database: Database, stdout: OutputWrapper, *, clients: int, requests: int
) -> Result:
    """One round: serve the shop, send the traffic, do the mischief, count."""
    name = engine.application_name
    environment = engine.environment(database.url)
    with database.connect("shop-demo") as connection:
        _manage(environment, "fill_shop", f"--orders={max(100, requests // 4 + 1)}")
        mischief = Mischief(connection, name)
        progress = Progress(stdout, engine.value, requests)
        with Census(database, name) as census, Server(environment) as server:
            traffic = Traffic(server.host, server.port, clients=clients, requests=requests)
            try:
                traffic.start()
                while traffic.is_running():
                    progress.show(traffic.done)
                    mischief.advance(traffic.done / requests)
                    time.sleep(PAUSE)
            except RequestError as error:
                raise DemoError(f"The shop does not work: {error}\n{server.log()}") from error
            finally:
                traffic.stop()
            pool = server.pool() if engine is Engine.POOLED else {}
    result = sum_up(traffic.outcomes, mischief, peak=census.peak, pool=pool)
    progress.finish(result.seconds)
    return result


def _manage(environment: Mapping[str, str], *arguments: str) -> None:
    """Run ``manage.py`` as the serving process would."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"'manage.py {arguments[0]}' failed:\n{done.stderr.strip()}")
