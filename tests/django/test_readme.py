"""The Python examples of the README do what it says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.postgresql import base as stock
from django.http import HttpResponse

from django_connmgr.backends.postgresql.base import PooledPostgreSQL
from django_connmgr.conf import parse_pool_options
from testproject.shop.models import Customer, Order

from .conftest import Pool

README = Path(__file__).parents[2] / "README.md"


def example(word: str) -> str:
    """The one example with that word in it."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return str(found)


def run(word: str, **names: Any) -> dict[str, Any]:
    exec(compile(example(word), README.name, "exec"), names)
    return names


def test_every_example_is_looked_at_here() -> None:
    words = ("INSTALLED_APPS", "def pay", "stats()", "PooledPostgreSQL")
    assert len({example(word) for word in words}) == README.read_text().count("```python")


def test_the_settings_are_valid() -> None:
    settings = run("INSTALLED_APPS")
    assert settings["INSTALLED_APPS"][0] == "django_connmgr"
    options, problems = parse_pool_options(settings["DATABASES"]["default"]["OPTIONS"]["pool"])
    assert options is not None
    assert (options.max_size, problems) == (10, [])


def test_the_view_and_the_task_hold_connections_for_parts_of_their_work(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order.objects.create(customer=Customer.objects.create(name="Ada"), amount=5)
    leased_meanwhile: list[int] = []
    paid: list[str] = []

    class PaymentService:
        def charge(self, amount: Any) -> str:
            leased_meanwhile.append(pool.stats().leased)
            return "receipt 1"

    from django_connmgr import release_connections

    release_connections()
    monkeypatch.setattr(Order, "mark_paid", lambda self, receipt: paid.append(receipt), False)
    names = run(
        "def pay",
        Order=Order,
        HttpResponse=HttpResponse,
        payment_service=PaymentService(),
        settle=lambda order: paid.append(f"settled {order.pk}"),
    )
    assert names["pay"](None, order.pk).content == b"receipt 1"
    release_connections()
    names["settle_orders"]()
    assert (leased_meanwhile, paid) == ([0], ["receipt 1", f"settled {order.pk}"])
    assert pool.stats().leased == 0


def test_the_pools_can_be_looked_at(pool: Pool) -> None:
    assert run("stats()")["pools"]["default"] is pool


def test_another_engine_is_wrapped_in_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for PostGIS's module, which cannot be imported without GDAL."""
    name = "django.contrib.gis.db.backends.postgis"
    package, base = types.ModuleType(name), types.ModuleType(f"{name}.base")
    base.DatabaseWrapper = stock.DatabaseWrapper  # type: ignore[attr-defined]
    package.base = base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, f"{name}.base", base)
    wrapper = run("PooledPostgreSQL")["DatabaseWrapper"]
    assert wrapper.__mro__[1:2] == (PooledPostgreSQL,)
    assert issubclass(wrapper, stock.DatabaseWrapper)
