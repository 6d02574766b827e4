"""Tests that fail on our engine and not on Django's, and shall: each with its reason."""

from __future__ import annotations

from collections.abc import Mapping

_POSTGRESQL = "backends.postgresql.tests.Tests."
_HEALTH = "backends.base.test_base.ConnectionHealthChecksTests."

_NO_DJANGO_POOL = "it looks at Django's own pool, which our engine does not make"
_NO_MAX_AGE = "it sets CONN_MAX_AGE, which our engine refuses"
_ONCE = "connection_created is sent once for each physical connection, and close() keeps that"
_SKIPPED_BY_DJANGO = "Django skips it for every OPTIONS with a pool"

KNOWN: Mapping[str, str] = {
    "backends.tests.ConnectionCreatedSignalTest.test_signal": _ONCE,
    _POSTGRESQL + "test_connect_pool": _NO_DJANGO_POOL,
    _POSTGRESQL + "test_connect_pool_set_to_true": _NO_DJANGO_POOL,
    _POSTGRESQL + "test_pool_check_can_be_overridden": _NO_DJANGO_POOL,
    _POSTGRESQL + "test_pool_options_not_mutated": _NO_DJANGO_POOL,
    _POSTGRESQL + "test_pooling_health_checks": _NO_DJANGO_POOL,
    _POSTGRESQL + "test_pooling_not_support_persistent_connections": _NO_DJANGO_POOL,
    _HEALTH + "test_health_checks_disabled": _NO_MAX_AGE,
    _HEALTH + "test_health_checks_enabled_errors_occurred": _NO_MAX_AGE,
    _HEALTH + "test_health_checks_enabled (skipped)": _SKIPPED_BY_DJANGO,
    _HEALTH + "test_set_autocommit_health_checks_enabled (skipped)": _SKIPPED_BY_DJANGO,
}
