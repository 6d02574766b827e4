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


_BACKENDS = "backends."
_BASE = "backends.base.test_base."
_POSTGRESQL = "backends.postgresql.tests.Tests."
_SELECT_FOR_UPDATE = "select_for_update.tests.SelectForUpdateTests."

#: Methods by their classes.
_CHECKED = {
    "admin_checks.tests.SystemChecksTestCase": (
        "test_checks_are_performed",
        "test_custom_adminsite",
    ),
    "admin_scripts.tests.DjangoAdminAlternateSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.DjangoAdminDefaultSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.DjangoAdminFullPathDefaultSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.DjangoAdminMultipleSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.DjangoAdminSettingsDirectory": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.ManageAlternateSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.ManageCheck": (
        "test_app_with_import",
        "test_complex_app",
        "test_output_format",
        "test_warning_does_not_halt",
    ),
    "admin_scripts.tests.ManageDefaultSettings": (
        "test_builtin_command",
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.ManageFullPathDefaultSettings": (
        "test_builtin_command",
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "admin_scripts.tests.ManageMultipleSettings": (
        "test_builtin_with_environment",
        "test_builtin_with_settings",
    ),
    "logging_tests.tests.SettingsConfigTest": ("test_circular_dependency",),
    "logging_tests.tests.SettingsCustomLoggingTest": ("test_custom_logging",),
    "urlpatterns_reverse.tests.ReverseLazySettingsTest": ("test_lazy_in_settings",),
}

KNOWN = (
    Known(
        "It expects no warning of a system check, and its project, on our engine, has no"
        " `django_connmgr` in `INSTALLED_APPS`: that is W001",
        tuple(f"{name}.{method}" for name, methods in _CHECKED.items() for method in methods),
    ),
    Known(
        "`connection_created` is sent once for each physical connection, and `close()` keeps that",
        (_BACKENDS + "tests.ConnectionCreatedSignalTest.test_signal",),
        servers=("postgresql",),
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
        "Django skips it for every `OPTIONS` with a pool",
        (
            _BASE + "ConnectionHealthChecksTests.test_health_checks_enabled (skipped)",
            _BASE + "ConnectionHealthChecksTests.test_set_autocommit_health_checks_enabled"
            " (skipped)",
        ),
        servers=("postgresql",),
    ),
    Known(
        "A wrapper and its borrower refer to each other: the memory of a wrapper that nothing uses"
        " any more is freed by the next garbage collection, and not at once",
        (_BASE + "DatabaseWrapperTests.test_release_memory_without_garbage_collection",),
    ),
    Known(
        "It closes `connection.connection` after a query, where it is `None` on ours",
        (_BACKENDS + "sqlite.tests.ThreadSharing.test_database_sharing_in_threads",),
        servers=("sqlite3",),
    ),
    Known(
        "It needs two connections at once, and there is one",
        (_BACKENDS + "tests.ThreadTests.test_default_connection_thread_local",),
        modes=("max_size=1",),
    ),
    Known(
        "It needs two connections at once, and there is one",
        (
            "delete_regress.tests.DeleteLockingTest.test_concurrent_delete",
            "get_or_create.tests.UpdateOrCreateTransactionTests.test_creation_in_transaction",
            _SELECT_FOR_UPDATE + "test_block",
            _SELECT_FOR_UPDATE + "test_skip_locked_skips_locked_rows",
        ),
        servers=("postgresql",),
        modes=("max_size=1",),
    ),
    Known(
        "It needs two connections at once, and there is one",
        (
            _BACKENDS + "sqlite.test_features.FeaturesTests"
            ".test_max_query_params_without_established_connection",
        ),
        servers=("sqlite3",),
        modes=("max_size=1",),
    ),
)


def known(server: str, mode: str) -> frozenset[str]:
    """The tests that are listed for this server and this mode."""
    return frozenset(
        test for entry in KNOWN if entry.is_about(server, mode) for test in entry.tests
    )
