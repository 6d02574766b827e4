"""Count the connections of a deployment at worst, and compare with what its servers take."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from ...app_settings import app_settings
from ...budget.demand import Demand, find_demands
from ...budget.plan import Group, WrongGroup, count_processes, groups_of, parse_group
from ...budget.supply import Supply, ask_server
from ...budget.verdict import Verdict
from .outcome import Failed
from .tables import as_table, wrap

_MISSING = (
    "What runs? Name each group of processes, such as --process web=2x6 --process jobs=1x10 for "
    "two hosts with six web processes each and one host with ten workers; or set "
    "CONNMGR['PROCESSES'] = {'web': (2, 6), 'jobs': (1, 10)}."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--process",
        action="append",
        metavar="NAME=HOSTSxPROCESSES",
        help="A group of processes, such as web=2x6; repeatable. Default: CONNMGR['PROCESSES'].",
    )
    parser.add_argument("--threads", type=int, help="How many threads of a process use a database.")
    parser.add_argument("--alias", action="append", help="Only this alias; repeatable.")
    parser.add_argument("--max-connections", type=int, help="The limit; no server is asked then.")


def run(options: dict[str, Any]) -> str:
    groups, threads = _groups(options), options["threads"]
    if threads is not None and threads < 1:
        raise CommandError("--threads takes a whole number, 1 or more.")
    demands = find_demands(options["alias"])
    if not demands:
        raise CommandError("No alias of DATABASES is pooled, so nothing bounds its connections.")
    verdicts = [
        Verdict(address, demand, _supply(demand, options), count_processes(groups), threads)
        for address, demand in demands.items()
    ]
    text = "\n\n".join([_describe_groups(groups, threads), *map(_describe, verdicts)])
    if all(verdict.fits for verdict in verdicts):
        return text
    raise Failed(text)


def _groups(options: dict[str, Any]) -> list[Group]:
    try:
        given = [parse_group(text) for text in options["process"] or ()]
    except WrongGroup as wrong:
        raise CommandError(str(wrong)) from None
    groups = given or groups_of(app_settings().PROCESSES)
    if not groups:
        raise CommandError(_MISSING)
    return groups


def _supply(demand: Demand, options: dict[str, Any]) -> Supply:
    if options["max_connections"] is not None:
        return Supply(options["max_connections"])
    return ask_server(min(demand.bounds, key=len))


def _describe_groups(groups: list[Group], threads: int | None) -> str:
    rows = [(one.name, str(one.hosts), str(one.processes), str(one.total)) for one in groups]
    table = as_table([("group", "hosts", "on each", "processes"), *rows], words=1)
    each = threads or 1
    what = "thread" if each > 1 else "process"
    total = count_processes(groups) * each
    return f"{table}\n\nOne connection for each {what}: {total}"


def _describe(verdict: Verdict) -> str:
    bounds, probes = verdict.demand.bounds, verdict.demand.probes
    parts = [f"{bound or 'no limit'} of {alias!r}" for alias, bound in bounds.items()]
    parts += [f"{probes} of the monitor"] if probes else []
    lines = [str(verdict.address)]
    lines += wrap(f"In one process: {', '.join(parts)}{_of_threads(verdict)}")
    if verdict.most is None:
        lines.append("  The pools guarantee nothing: max_size is None.")
    else:
        lines.append(f"  The pools guarantee at most: {verdict.most}")
    supply = verdict.supply
    if supply.available is None:
        return "\n".join([*lines, *wrap(f"The server's limit: {supply.note}")])
    reserved = f" ({supply.most} less {supply.reserved} reserved)" if supply.reserved else ""
    lines.append(f"  The server takes: {supply.available}{reserved}")
    if verdict.fits:
        return "\n".join([*lines, "  It fits."])
    excess = f": {verdict.excess} too many" if verdict.excess else ""
    return "\n".join([*lines, *wrap(f"It does not fit{excess}. {verdict.advice()}")])


def _of_threads(verdict: Verdict) -> str:
    bounds = verdict.demand.bounds.values()
    threads = verdict.threads
    if threads is None or all(bound is not None and bound <= threads for bound in bounds):
        return ""
    return f"; {threads} threads use no more than {threads} of a pool"
