"""Tests that pass on Django's engine, and do not on ours, and shall not: each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from .mode import MODES
from .server import SERVERS


@dataclass(frozen=True)
class Known:
    """An entry is stale where it is listed and the test does not differ: that is an error, too."""

    reason: str
    #: Ids as ``outcome.compared()`` gives them.
    tests: tuple[str, ...]
    servers: tuple[str, ...] = tuple(SERVERS)
    modes: tuple[str, ...] = tuple(MODES)

    def is_about(self, server: str, mode: str) -> bool:
        return server in self.servers and mode in self.modes


_POSTGRESQL = "backends.postgresql.tests.Tests."
_HEALTH = "backends.base.test_base.ConnectionHealthChecksTests."

KNOWN = (
    Known(
        "`connection_created` is sent once for each physical connection, and `close()` keeps that",
        ("backends.tests.ConnectionCreatedSignalTest.test_signal",),
    ),
    Known(
        "It looks at Django's own pool, which our engine does not make",
        (
            _POSTGRESQL + "test_connect_pool",
            _POSTGRESQL + "test_connect_pool_set_to_true",
            _POSTGRESQL + "test_pool_check_can_be_overridden",
            _POSTGRESQL + "test_pool_options_not_mutated",
            _POSTGRESQL + "test_pooling_health_checks",
            _POSTGRESQL + "test_pooling_not_support_persistent_connections",
        ),
        servers=("postgresql",),
    ),
    Known(
        "It sets `CONN_MAX_AGE`, which our engine refuses",
        (
            _HEALTH + "test_health_checks_disabled",
            _HEALTH + "test_health_checks_enabled_errors_occurred",
        ),
    ),
    Known(
        "Django skips it for every `OPTIONS` with a pool",
        (
            _HEALTH + "test_health_checks_enabled (skipped)",
            _HEALTH + "test_set_autocommit_health_checks_enabled (skipped)",
        ),
    ),
)


def known(server: str, mode: str) -> frozenset[str]:
    """The tests that are listed for this server and this mode."""
    return frozenset(
        test for entry in KNOWN if entry.is_about(server, mode) for test in entry.tests
    )
