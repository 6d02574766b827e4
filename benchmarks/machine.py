"""What the numbers were measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .contestants import CONTESTANTS, Missing


@dataclass(frozen=True)
class Machine:
    date: str
    system: str
    processor: str
    cores: int
    #: By name, of everything that took part.
    versions: dict[str, str]


def describe(contestants: Iterable[str]) -> Machine:
    """This machine, and what of these contestants is installed on it."""
    versions = {"Python": platform.python_version()}
    import django

    import django_connmgr

    versions["Django"] = django.get_version()
    versions["django-connmgr"] = django_connmgr.__version__
    for name in contestants:
        try:
            versions.update(CONTESTANTS[name].versions())
        except Missing:
            continue
    return Machine(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=_cores(),
        versions=versions,
    )


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
