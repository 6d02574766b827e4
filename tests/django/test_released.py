"""``released()`` where a transaction is open: the user's, a request's, or a test case's."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, TestCase, override_settings

from django_connmgr import pools, released, with_connection
from testproject.shop.models import Customer

from .conftest import Pool
from .threads import ask, taken


def view(request: HttpRequest) -> HttpResponse:
    Customer.objects.create(name="Ada")
    with released():
        return HttpResponse(str(taken(pools["default"])))


def visit() -> HttpResponse:
    response: HttpResponse = BaseHandler().make_view_atomic(view)(RequestFactory().get("/"))
    return response


def test_a_request_without_a_transaction_gives_back(pool: Pool) -> None:
    assert visit().content == b"0"
    assert Customer.objects.get().name == "Ada"


def test_the_transaction_of_a_request_refuses(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with pytest.raises(TransactionManagementError, match="'default'"):
        visit()
    assert not Customer.objects.exists()


class InsideATestCase(TestCase):
    """Its transactions are not the user's: nothing is given back, and nothing is refused."""

    @classmethod
    def setUpTestData(cls) -> None:
        Customer.objects.create(name="of the class")

    def names(self) -> set[str]:
        return set(Customer.objects.values_list("name", flat=True))

    def test_nothing_is_given_back(self) -> None:
        Customer.objects.create(name="Ada")
        mine = ask()
        with released():
            assert pools["default"].stats().leased == 1
            assert ask() == mine
        with released("default"):
            pass
        assert (ask(), self.names()) == (mine, {"of the class", "Ada"})

    def test_a_decorated_function_runs(self) -> None:
        @released()
        def work() -> set[str]:
            return self.names()

        with with_connection():
            assert work() == {"of the class"}

    def test_a_transaction_of_the_users_refuses(self) -> None:
        with transaction.atomic():
            Customer.objects.create(name="Ada")
            with pytest.raises(TransactionManagementError, match="'default'"), released():
                pass
            assert self.names() == {"of the class", "Ada"}
        with released():
            assert self.names() == {"of the class", "Ada"}

    def test_the_transaction_of_a_request_refuses(self) -> None:
        settings: dict[str, Any] = connection.settings_dict
        settings["ATOMIC_REQUESTS"] = True
        try:
            with pytest.raises(TransactionManagementError, match="'default'"):
                visit()
        finally:
            settings["ATOMIC_REQUESTS"] = False
        assert self.names() == {"of the class"}

    @override_settings(ROOT_URLCONF="tests.django.urls")
    def test_a_request_of_the_test_client_is_not_refused(self) -> None:
        assert self.client.get("/released/").json()["names"] == ["of the class"]
