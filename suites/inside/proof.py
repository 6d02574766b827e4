"""Tells the parent process what a suite ran on: which code, and what the pools did."""

from __future__ import annotations

import re
from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation

from . import report

_NUMBERS = re.compile(r"\b\w+=[1-9]\d*\b(?!\.)")


def install() -> None:
    """Look at the pool of each test database just before that is destroyed."""
    destroy = BaseDatabaseCreation.destroy_test_db

    def look_and_destroy(self: BaseDatabaseCreation, *args: Any, **kwargs: Any) -> None:
        report.add(report.POOL, *_proof(self.connection.alias))
        destroy(self, *args, **kwargs)

    BaseDatabaseCreation.destroy_test_db = look_and_destroy  # type: ignore[method-assign]


def _proof(alias: str) -> tuple[str, str, str | None]:
    """The alias, our code, and the numbers of the pool; ``None`` if there is no pool."""
    from django_connmgr import __file__ as code
    from django_connmgr import pools

    pool = pools.get(alias)
    if pool is None:
        return alias, code, None
    # Whatever its numbers are called: those that are not 0.
    return alias, code, " ".join(_NUMBERS.findall(repr(pool.stats())))
