"""The system check of ``CONNMGR["PROCESSES"]``."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .app_settings import app_settings
from .budget.demand import find_demands
from .budget.plan import count_processes, groups_of
from .budget.supply import ask_server
from .budget.verdict import Verdict


def check_budget(
    databases: Iterable[str] | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> list[checks.CheckMessage]:
    """W009: the processes may open more connections than a server takes."""
    try:
        groups = groups_of(app_settings().PROCESSES)
    except ImproperlyConfigured:
        return []  # E005 tells.
    messages: list[checks.CheckMessage] = []
    asked = set(databases or ())
    for address, demand in find_demands().items() if groups and asked else ():
        alias = next(iter(sorted(asked & set(demand.bounds))), None)
        if alias is None:
            continue
        verdict = Verdict(address, demand, ask_server(alias), count_processes(groups), None)
        if not verdict.fits:
            most = "any number of" if verdict.most is None else verdict.most
            text = (
                f"{verdict.processes} processes (CONNMGR['PROCESSES']) may open {most} connections "
                f"to {address}, which takes {verdict.supply.available}."
            )
            messages.append(checks.Warning(text, hint=verdict.advice(), id="connmgr.W009"))
    return messages
