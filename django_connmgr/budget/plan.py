"""What runs: groups of equal processes."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_GROUP = re.compile(r"(?P<name>[^=]+)=(?P<hosts>\d+)x(?P<processes>\d+)")


class WrongGroup(ValueError):
    """Says what a group looks like."""


class Group(NamedTuple):
    """Processes of one kind: on so many hosts, so many on each."""

    name: str
    hosts: int
    processes: int

    @property
    def total(self) -> int:
        return self.hosts * self.processes


def parse_group(text: str) -> Group:
    """``web=2x6``: two hosts with six processes each; raises ``WrongGroup``."""
    match = _GROUP.fullmatch(text)
    if match is None or not int(match["hosts"]) or not int(match["processes"]):
        raise WrongGroup(
            f"{text!r} is no group of processes. Write NAME=HOSTSxPROCESSES with numbers above 0, "
            "such as web=2x6: two hosts with six processes each."
        )
    return Group(match["name"], int(match["hosts"]), int(match["processes"]))


def groups_of(processes: Mapping[str, tuple[int, int]]) -> list[Group]:
    """Those of ``CONNMGR["PROCESSES"]``."""
    return [Group(name, *pair) for name, pair in processes.items()]


def count_processes(groups: Iterable[Group]) -> int:
    return sum(group.total for group in groups)
