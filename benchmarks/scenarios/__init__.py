"""One noun per file; what is listed here is what there is, in the order in which it runs."""

from __future__ import annotations

from ..scenario import Scenario
from . import (
    block,
    burst,
    close,
    core,
    database_bound,
    greenlets,
    growth_of_costs,
    http,
    many_threads,
    memory,
    orm,
    page,
    rails,
    replicas,
    request,
    spike,
    stale,
    startup,
    web,
)

_MODULES = (
    core, block, close, orm, request, page, web, database_bound, greenlets, http,
    burst, spike, stale, many_threads, growth_of_costs, rails, replicas, startup, memory,
)  # fmt: skip

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for module in _MODULES for scenario in module.SCENARIOS
}
