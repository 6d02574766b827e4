"""``ReplicaMirrorMixin``, in a test case that is run inside a test."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import TestCase, override_settings

from django_connmgr import unit_of_work, using_primary
from django_connmgr.registry import registry
from django_connmgr.routers import explain_route
from django_connmgr.testing import ReplicaMirrorMixin
from testproject.shop.models import Customer

REPLICA = "copies"


@pytest.fixture
def replica(pool_of: object) -> Iterator[None]:
    """An alias of replicas, none of which is there."""
    default = connections.settings["default"]
    connections.settings[REPLICA] = {
        **default,
        "OPTIONS": {"replica_of": "default", "hosts": [{"HOST": "127.0.0.1", "PORT": "1"}]},
        "TEST": {**default["TEST"], "MIRROR": "default"},
    }
    with override_settings(DATABASE_ROUTERS=["django_connmgr.routers.ReplicaRouter"]):
        yield
    connections[REPLICA].close()
    registry.close(REPLICA)
    del connections[REPLICA]
    del connections.settings[REPLICA]
    connections["default"].execute_wrappers.clear()
    del connections["default"]


def cases() -> tuple[type[TestCase], type[TestCase]]:
    """In a function, so that pytest does not run them."""

    class Plain(TestCase):
        databases = frozenset({"default", REPLICA})

        def test_rows(self) -> None:
            Customer.objects.create(name="Ada")
            with using_primary():
                assert Customer.objects.count() == 1
            assert Customer.objects.using(REPLICA).count() == 1

    class Mirrored(ReplicaMirrorMixin, Plain):
        def test_routes(self) -> None:
            with unit_of_work():
                assert explain_route(Customer).startswith(REPLICA)

    return Plain, Mirrored


def outcome(case: type[TestCase]) -> tuple[int, int, int]:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result.testsRun, len(result.failures), len(result.errors)


def test_a_test_case_sees_its_rows_through_the_replica(replica: None) -> None:
    wrapper: Any = connections[REPLICA]
    wrapper.creation.set_as_test_mirror(connections["default"].settings_dict)
    plain, mirrored = cases()
    assert outcome(plain) == (1, 1, 0)
    assert outcome(mirrored) == (2, 0, 0)
    assert connections[REPLICA] is wrapper
