"""The shop's JSON views.

Most do nothing about connections: the first query leases one, and the end of the request
gives it back. Two views give it back earlier, because they would hold it without using it:
while a payment is made (``payments.pay_order``), and while a client reads a long response.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from django_connmgr import with_connection

from . import jobs
from .failures import failure_of
from .forms import OrderForm
from .models import Customer, Order
from .payments import pay_order

#: Orders in one list.
LIST_LENGTH = 20
#: Orders that an export reads at a time.
PAGE_LENGTH = 200


@require_http_methods(["GET", "HEAD", "POST"])
def orders(request: HttpRequest) -> JsonResponse:
    """The latest orders, or a new one."""
    if request.method == "POST":
        return _create_order(request)
    latest = Order.objects.select_related("customer").order_by("-pk")[:LIST_LENGTH]
    return JsonResponse({"orders": [_as_dict(order) for order in latest]})


@transaction.atomic
def _create_order(request: HttpRequest) -> JsonResponse:
    form = OrderForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    return JsonResponse(_as_dict(Order.objects.create(**form.cleaned_data)), status=201)


@require_safe
def order(request: HttpRequest, pk: int) -> JsonResponse:  # noqa: ARG001
    """One order, and the port of the server that it was read from."""
    found = get_object_or_404(Order.objects.select_related("customer"), pk=pk)
    port = None
    if connections[str(found._state.db)].vendor == "postgresql":
        with connections[str(found._state.db)].cursor() as cursor:
            cursor.execute("SELECT inet_server_port()")
            (port,) = cursor.fetchone()
    return JsonResponse({**_as_dict(found), "read_from": port})


@require_POST
def pay(request: HttpRequest, pk: int) -> JsonResponse:  # noqa: ARG001
    """Pay an order; takes as long as the payment provider does."""
    try:
        order = pay_order(pk)
    except Order.DoesNotExist:
        raise Http404(f"No order {pk}") from None
    return JsonResponse({"id": order.pk, "is_paid": order.is_paid})


@require_POST
def receipt(request: HttpRequest, pk: int) -> JsonResponse:  # noqa: ARG001
    """Start writing a receipt; this request itself uses no connection."""
    jobs.start_receipt(pk)
    return JsonResponse({"id": pk}, status=202)


@require_safe
def report(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Sales in figures."""
    figures = Order.objects.aggregate(
        orders=Count("pk"),
        paid=Count("pk", filter=Q(is_paid=True)),
        revenue=Sum("amount", filter=Q(is_paid=True)),
    )
    best = Customer.objects.annotate(spent=Sum("orders__amount")).order_by("-spent", "pk")[:3]
    return JsonResponse({**figures, "best_customers": [customer.name for customer in best]})


@require_safe
async def customer(request: HttpRequest, pk: int) -> JsonResponse:  # noqa: ARG001
    """A customer with the latest orders.

    The ORM's async methods run in one thread per request, and so share its connection.
    """
    try:
        found = await Customer.objects.aget(pk=pk)
    except Customer.DoesNotExist:
        raise Http404(f"No customer {pk}") from None
    latest = found.orders.select_related("customer").order_by("-pk")[:LIST_LENGTH]
    return JsonResponse(
        {
            "id": found.pk,
            "name": found.name,
            "orders": await found.orders.acount(),
            "latest": [_as_dict(order) async for order in latest],
        }
    )


@require_safe
def export(request: HttpRequest) -> StreamingHttpResponse:  # noqa: ARG001
    """Every order, one JSON object per line; the last line counts them."""
    return StreamingHttpResponse(_export_lines(), content_type="application/x-ndjson")


def _export_lines() -> Iterator[str]:
    """Runs after the view has returned, at the speed of the client.

    Each page is one query, and no connection is held while the client reads the page. If the
    stream breaks off, the last line says why, because the status line was sent long before.
    """
    number, last, is_full = 0, 0, True
    try:
        while is_full:  # The first page that is not full is the last one, even if orders are added.
            page = _page_after(last)
            for order in page:
                last = order.pk
                yield json.dumps(_as_dict(order)) + "\n"
            number += len(page)
            is_full = len(page) == PAGE_LENGTH
        yield json.dumps({"count": number}) + "\n"
    except OperationalError as error:
        yield json.dumps({"error": failure_of(error)}) + "\n"


@with_connection()
def _page_after(pk: int) -> list[Order]:
    following = Order.objects.select_related("customer").filter(pk__gt=pk).order_by("pk")
    return list(following[:PAGE_LENGTH])


def _as_dict(order: Order) -> dict[str, Any]:
    return {
        "id": order.pk,
        "customer": {"id": order.customer.pk, "name": order.customer.name},
        "amount": str(order.amount),
        "is_paid": order.is_paid,
    }
