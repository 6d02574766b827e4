"""A request leases at its first query and releases at its end."""

from __future__ import annotations

import pytest
from django.core.signals import request_finished, request_started
from django.test import Client, TestCase, override_settings

from django_connmgr import PoolTimeout, lease_connection
from testproject.shop.models import Customer

from .conftest import Pool, PoolOf
from .threads import ask, taken

URLS = override_settings(ROOT_URLCONF="tests.django.urls")


@URLS
def test_every_request_returns_its_connection(pool: Pool, client: Client) -> None:
    answers = [client.get("/backend/").json() for _ in range(3)]
    assert answers == [{"backend": answers[0]["backend"], "leased": 1}] * 3
    assert (taken(pool), pool.stats().checkouts) == (0, 3)


@URLS
def test_what_was_left_over_is_returned_when_a_request_begins(pool: Pool, client: Client) -> None:
    """Without Django's own receivers, which its test client takes away."""
    ask()
    assert client.get("/backend/").json()["leased"] == 1
    assert (taken(pool), pool.stats().checkouts) == (0, 2)


@URLS
def test_a_view_that_fails_returns_its_connection(pool: Pool) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/broken/").status_code == 500
    assert (taken(pool), pool.stats().idle) == (0, 1)


@URLS
def test_a_view_that_forgets_its_transaction_is_rolled_back(pool: Pool, client: Client) -> None:
    client.get("/forgetful/")
    assert taken(pool) == 0
    assert not Customer.objects.exists()


@URLS
@pytest.mark.parametrize("path", ["/decorated/", "/decorated-async/"])
def test_a_decorated_view_holds_one_connection(pool: Pool, client: Client, path: str) -> None:
    assert client.get(path).json()["leased"] == 1
    assert (taken(pool), pool.stats().checkouts) == (0, 1)


@URLS
def test_a_holder_is_named_with_its_request(pool_of: PoolOf, client: Client) -> None:
    pool = pool_of(max_size=1, timeout=0.01, reclaim=False)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/slow/", "QUERY_STRING": "token=s3cret"}
    request_started.send(None, environ=environ)
    lease_connection()
    with pytest.raises(PoolTimeout, match="in GET /slow/") as caught:
        pool.acquire()
    request_finished.send(None)
    assert "s3cret" not in str(caught.value)


@URLS
class InsideATestCase(TestCase):
    """Inside ``TestCase`` everything is one transaction, so nothing is released."""

    def test_requests_share_the_tests_transaction(self) -> None:
        Customer.objects.create(name="Ada")
        mine = ask()
        assert self.client.get("/backend/").json()["backend"] == mine
        assert ask() == mine
        assert Customer.objects.count() == 1
