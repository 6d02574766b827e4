"""A small test suite, run by ``manage.py test`` in a process of its own."""

from __future__ import annotations

from django.db import connection
from django.test import TestCase, TransactionTestCase

from django_connmgr import pools, release_connections
from testproject.shop.models import Customer


class InTransactions(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        Customer.objects.create(name="Ada")

    def test_data_is_there(self) -> None:
        assert Customer.objects.count() == 1

    def test_nothing_is_released(self) -> None:
        Customer.objects.create(name="Grace")
        assert release_connections() == 0
        assert Customer.objects.count() == 2


class WithCommits(TransactionTestCase):
    def test_data_is_committed(self) -> None:
        Customer.objects.create(name="Ada")
        release_connections()
        assert Customer.objects.count() == 1

    def test_the_database_is_empty_and_pooled(self) -> None:
        assert Customer.objects.count() == 0
        assert "test" in str(connection.settings_dict["NAME"])
        stats = pools["default"].stats()
        assert stats.leased + stats.warm == 1


class InTransactionsToo(InTransactions):
    pass
