"""The web's requests under gevent."""

from __future__ import annotations

from ..scenario import Scenario
from . import web

SCENARIOS = (
    Scenario(
        name="greenlets",
        does="64 greenlets handle the requests of `web`, in one thread under gevent. Pools of 4.",
        contestants=("ours", "ours-transaction", "stock-persistent", "django-pool", "geventpool"),
        metrics=web.METRICS,
        run=web.run,
        rounds=3,
        is_green=True,
    ),
)
