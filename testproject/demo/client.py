"""One client of the shop."""

from __future__ import annotations

import http.client
import json
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

#: How long to wait for an answer, in seconds.
TIMEOUT = 60


class RequestError(Exception):
    """The request failed. The message is the shop's own reason if it gave one."""


class Client:
    """Lists, orders and pays as a customer does, over one HTTP connection that it keeps."""

    #: The order that the next requests are about, as the shop shows it.
    order: dict[str, Any]

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        self._cookies: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def list_orders(self) -> None:
        self._fetch("GET", "/orders/")

    def order_again(self) -> dict[str, Any]:
        """The new order."""
        same = {"customer": self.order["customer"]["id"], "amount": self.order["amount"]}
        created: dict[str, Any] = json.loads(self._fetch("POST", "/orders/", urlencode(same)))
        return created

    def see_order(self, pk: int) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads(self._fetch("GET", f"/orders/{pk}/"))
        return seen

    def pay(self) -> None:
        self._fetch("POST", f"/orders/{self.order['id']}/pay/")

    def ask_receipt(self) -> None:
        self._fetch("POST", f"/orders/{self.order['id']}/receipt/")

    def see_customer(self) -> None:
        self._fetch("GET", f"/customers/{self.order['customer']['id']}/")

    def report(self) -> None:
        self._fetch("GET", "/report/")

    def export(self) -> list[dict[str, Any]]:
        """Every order."""
        content = self._fetch("GET", "/orders/export/")
        try:
            *orders, last = map(json.loads, content.splitlines())
        except ValueError as error:  # The server ended in the middle of it.
            raise RequestError("the export is incomplete") from error
        if last != {"count": len(orders)}:
            raise RequestError(last.get("error", "the export is incomplete"))
        return orders

    def _fetch(self, method: str, path: str, body: str | None = None) -> bytes:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # The next request opens it again.
            raise RequestError(f"{type(error).__name__}: {error}") from error
        for cookie in response.headers.get_all("Set-Cookie", []):
            morsels = SimpleCookie(cookie).values()
            self._cookies.update({morsel.key: morsel.value for morsel in morsels})
        if response.status >= 400:
            raise RequestError(_reason(response.status, content))
        return content


def _reason(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}"
