"""The example project works, and holds connections as its comments say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import AsyncRequestFactory, Client

from django_connmgr import PoolTimeout, pools
from testproject import asgi
from testproject.shop import payments, views
from testproject.shop.failures import Failure, failure_of
from testproject.shop.models import Customer, Order

from .threads import taken

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order() -> Iterator[Order]:
    customer = Customer.objects.create(name="Ada")
    yield Order.objects.create(customer=customer, amount="12.50")
    connection.close()


def leased() -> int:
    return taken(pools["default"])


def as_json(order: Order) -> dict[str, Any]:
    return {
        "id": order.pk,
        "customer": {"id": order.customer.pk, "name": "Ada"},
        "amount": "12.50",
        "is_paid": False,
    }


def test_the_list_shows_the_latest_orders(client: Client, order: Order) -> None:
    assert client.get("/orders/").json() == {"orders": [as_json(order)]}
    assert leased() == 0


def test_an_order_is_created(client: Client, order: Order) -> None:
    response = client.post("/orders/", {"customer": order.customer.pk, "amount": "3"})
    assert (response.status_code, response.json()["amount"]) == (201, "3")
    assert leased() == 0
    assert Order.objects.count() == 2


def test_a_wrong_order_is_refused(client: Client) -> None:
    response = client.post("/orders/", {"customer": 0, "amount": "-1"})
    assert (response.status_code, set(response.json()["errors"])) == (400, {"customer", "amount"})
    assert leased() == 0


def test_no_connection_is_held_during_the_payment(
    client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.close()
    held: list[int] = []
    pool = pools["default"]
    monkeypatch.setattr(payments, "charge", lambda key, amount: held.append(pool.stats().leased))
    response = client.post(f"/orders/{order.pk}/pay/")
    assert (response.json(), held) == ({"id": order.pk, "is_paid": True}, [0])
    assert Order.objects.get().is_paid


def test_an_order_is_charged_once(
    client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    monkeypatch.setattr(payments, "charge", lambda key, amount: keys.append(key))
    for _ in range(2):
        client.post(f"/orders/{order.pk}/pay/")
    assert keys == [f"order-{order.pk}"]


def test_an_order_that_is_not_there_is_not_found(client: Client) -> None:
    assert client.post("/orders/0/pay/").status_code == 404
    assert leased() == 0


def test_the_report_adds_up(client: Client, order: Order) -> None:
    payments.pay_order(order.pk)
    assert client.get("/report/").json() == {
        "orders": 1,
        "paid": 1,
        "revenue": "12.50",
        "best_customers": ["Ada"],
    }


def test_the_receipts_thread_ends_and_loses_no_connection(client: Client, order: Order) -> None:
    connection.close()
    size = pools["default"].stats().size
    assert client.post(f"/orders/{order.pk}/receipt/").status_code == 202
    for thread in threading.enumerate():
        if thread.name == f"receipt-{order.pk}":
            thread.join(10)
    stats = pools["default"].stats()
    assert (leased(), stats.size, stats.idle) == (0, size, size)


@async_to_sync
async def get_over_asgi(path: str) -> tuple[int, Any]:
    """Status and body, from the application itself.

    Not from ``AsyncClient``, which ends requests on another thread than servers do.
    """
    scope = AsyncRequestFactory()._base_scope(path=path)
    server = ApplicationCommunicator(asgi.application, scope)
    await server.send_input({"type": "http.request", "body": b""})
    status = (await server.receive_output(30))["status"]
    body = (await server.receive_output(30))["body"]
    await server.wait(30)
    return status, json.loads(body) if status == 200 else None


def test_an_async_view_gives_its_connection_back(order: Order) -> None:
    expected = {"id": order.customer.pk, "name": "Ada", "orders": 1, "latest": [as_json(order)]}
    connection.close()
    before = pools["default"].stats().checkouts
    assert get_over_asgi(f"/customers/{order.customer.pk}/") == (200, expected)
    stats = pools["default"].stats()
    assert (leased(), stats.checkouts - before) == (0, 1)


def test_an_async_view_that_fails_gives_its_connection_back() -> None:
    assert get_over_asgi("/customers/0/") == (404, None)
    assert leased() == 0


def test_an_async_view_works_under_wsgi(client: Client, order: Order) -> None:
    assert client.get(f"/customers/{order.customer.pk}/").json()["latest"] == [as_json(order)]
    assert leased() == 0


def test_an_export_is_complete(
    client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE_LENGTH", 2)
    Order.objects.bulk_create(Order(customer=order.customer, amount=1) for _ in range(4))
    lines = [json.loads(line) for line in client.get("/orders/export/").getvalue().splitlines()]
    assert (lines[0], len(lines), lines[-1]) == (as_json(order), 6, {"count": 5})


def test_no_connection_is_held_while_an_export_is_read(client: Client, order: Order) -> None:
    connection.close()
    held = [leased() for _ in client.get("/orders/export/")]
    assert held == [0, 0]


def test_an_export_says_why_it_broke_off(
    client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pk: int) -> list[Order]:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(views, "_page_after", fail)
    answer = client.get("/orders/export/").getvalue()
    assert json.loads(answer) == {"error": "connection-killed"}


def test_a_killed_connection_is_a_503_and_the_next_request_works(
    client: Client, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_myself(pk: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patch:
        patch.setattr(views, "pay_order", kill_myself)
        response = client.post(f"/orders/{order.pk}/pay/")
    assert (response.status_code, response.json()) == (503, {"error": "connection-killed"})
    assert leased() == 0
    assert client.post(f"/orders/{order.pk}/pay/").status_code == 200


def test_other_errors_are_bugs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "pay_order", lambda pk: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client.post("/orders/1/pay/")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OperationalError("FATAL:  sorry, too many clients already"), Failure.SERVER_FULL),
        (PoolTimeout("No connection"), Failure.POOL_TIMEOUT),
        (OperationalError("disk full"), Failure.OTHER),
    ],
)
def test_failures_are_told_apart(error: OperationalError, failure: Failure) -> None:
    assert failure_of(error) is failure


def test_the_pools_numbers_cost_no_connection(client: Client) -> None:
    connection.close()
    before = pools["default"].stats().checkouts
    answer = client.get("/pool/").json()
    assert (answer["name"], answer["max_size"], answer["checkouts"]) == ("default", 4, before)


def test_the_command_pays_what_is_unpaid(order: Order) -> None:
    out = StringIO()
    connection.close()
    call_command("pay_orders", stdout=out)
    assert (out.getvalue(), leased()) == ("Paid 1 order.\n", 0)
    assert Order.objects.get().is_paid


def test_the_shop_is_filled_anew_each_time() -> None:
    out = StringIO()
    for _ in range(2):
        call_command("fill_shop", orders=9, stdout=out)
    assert (Customer.objects.count(), Order.objects.count()) == (8, 9)
