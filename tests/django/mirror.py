"""A small test suite that reads from a mirror, run by ``manage.py test`` like ``sample``."""

from __future__ import annotations

from django.db import connections
from django.test import TestCase, TransactionTestCase

from django_connmgr import pools
from testproject.shop.models import Customer


class InTransactions(TestCase):
    databases = {"default", "replica"}

    def test_data_is_there(self) -> None:
        Customer.objects.create(name="Ada")
        assert Customer.objects.count() == 1


class WithCommits(TransactionTestCase):
    databases = {"default", "replica"}

    def test_the_mirror_leads_to_the_same_database(self) -> None:
        Customer.objects.create(name="Ada")
        assert Customer.objects.using("replica").get().name == "Ada"
        names = {connections[alias].settings_dict["NAME"] for alias in ("default", "replica")}
        assert len(names) == 1
        assert "test" in str(names)
        # Its connections lie in a pool, idle, when the database is dropped.
        assert pools["replica"].stats().size == 1
