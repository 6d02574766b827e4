"""The Python examples of the README and the guides do what they say, and links lead somewhere."""

from __future__ import annotations

import re
import sys
import threading
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections
from django.db.backends.postgresql import base as stock
from django.http import HttpResponse
from django.utils.module_loading import import_string

from django_connmgr import current_token, release_connections, require_token, unit_of_work
from django_connmgr.backends.postgresql.base import PooledPostgreSQL
from django_connmgr.clusters import addresses_of, choices_of, hosts_of
from django_connmgr.conf import PoolOptions, parse_pool_options
from django_connmgr.middleware import UnitOfWorkMiddleware
from testproject.shop.models import Customer, Order

from .conftest import Pool
from .threads import taken

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ENGINE = "django_connmgr.backends.postgresql"

#: The document of each example, and words that only this example has.
LOOKED_AT = [
    ("README", "INSTALLED_APPS"),
    ("README", "def pay"),
    ("README", "stats()"),
    ("README", "replica_of"),
    ("credentials", "import boto3"),
    ("credentials", "shop.tokens.rds_token"),
    ("database-url", "import environ"),
    ("database-url", "DATABASE_POOL"),
    ("deadlines", "CANCEL_ON_DISCONNECT"),
    ("deadlines", "sales report"),
    ("engines", "PooledPostgreSQL"),
    ("engines", "ORIGINAL_BACKEND"),
    ("from-django-pool", "INSTALLED_APPS"),
    ("inspection", "inspection.web.urls"),
    ("inspection", "prometheus.register()"),
    ("inspection", "opentelemetry.instrument()"),
    ("inspection", "post_worker_init"),
    ("inspection", "health_view"),
    ("integrations", "ASGIUnitOfWorkMiddleware"),
    ("integrations", "UnitOfWorkInterceptor"),
    ("integrations", "channels"),
    ("integrations", "celery"),
    ("integrations", "apscheduler"),
    ("integrations", "Consumer"),
    ("integrations", "on_message"),
    ("pgbouncer", "pgbouncer-transaction"),
    ("replicas", '"WEIGHT": 2'),
    ("replicas", "MIDDLEWARE"),
    ("replicas", "require_token"),
    ("replicas", "target_session_attrs"),
    ("replicas", "ReplicaMirrorMixin"),
    ("replicas", "simulate_down"),
    ("sizing", "mean_wait"),
    ("testing", "assert_nothing_is_leased"),
    ("testing", "FakeDriver"),
    ("tutorial", "get_server"),
    ("tutorial", "BASE_DIR"),
    ("tutorial", "def report"),
]


def name_of(document: Path) -> str:
    return document.stem


def examples(document: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def example(name: str, words: str) -> str:
    """The one example of a document with these words in it."""
    (document,) = (path for path in DOCUMENTS if name_of(path) == name)
    (found,) = (block for block in examples(document) if words in block)
    return found


def run(name: str, words: str, /, **names: Any) -> dict[str, Any]:
    exec(compile(example(name, words), name, "exec"), names)
    return names


def pool_options(settings: dict[str, Any]) -> PoolOptions:
    """The options of the pool of a database's settings, which must have no problem."""
    assert settings["ENGINE"] == ENGINE
    options, problems = parse_pool_options(settings["OPTIONS"]["pool"])
    assert options is not None
    assert problems == []
    return options


def test_every_example_is_looked_at_here() -> None:
    looked_at = {example(name, words) for name, words in LOOKED_AT}
    assert {block for path in DOCUMENTS for block in examples(path)} == looked_at
    for block in looked_at:
        compile(block, "example", "exec")


@pytest.mark.parametrize("document", [*DOCUMENTS, *ROOT.glob("[CS]*.md")], ids=name_of)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {anchor_of(heading) for heading in headings}, link


def anchor_of(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# The README


def test_the_settings_are_valid() -> None:
    settings = run("README", "INSTALLED_APPS")
    assert settings["INSTALLED_APPS"][0] == "django_connmgr"
    assert pool_options(settings["DATABASES"]["default"]).max_size == 10


def test_the_view_and_the_task_hold_connections_for_parts_of_their_work(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order.objects.create(customer=Customer.objects.create(name="Ada"), amount=5)
    leased_meanwhile: list[int] = []
    paid: list[str] = []

    class PaymentService:
        def charge(self, amount: Any) -> str:
            leased_meanwhile.append(taken(pool))
            return "receipt 1"

    release_connections()
    monkeypatch.setattr(Order, "mark_paid", lambda self, receipt: paid.append(receipt), False)
    names = run(
        "README",
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
    assert taken(pool) == 0


def test_the_pools_can_be_looked_at(pool: Pool) -> None:
    assert run("README", "stats()")["pools"]["default"] is pool


# The guides


def test_the_mean_wait_of_a_new_pool_is_nothing(pool: Pool) -> None:
    assert run("sizing", "mean_wait")["mean_wait"] == 0


@pytest.mark.parametrize(
    ("url", "max_size", "timeout"),
    [
        ("postgres://shop:secret@db.example.com:5432/shop", 5, 5.0),
        ("postgres://shop:secret@db.example.com:5432/shop?pool=max_size=10,timeout=2.5", 10, 2.5),
        ("postgres://shop:secret@db.example.com/shop?sslmode=require&pool=max_size=10", 10, 5.0),
    ],
)
def test_a_url_can_have_the_options(
    monkeypatch: pytest.MonkeyPatch, url: str, max_size: int, timeout: float
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    settings = run("database-url", "import environ")["DATABASES"]["default"]
    assert (settings["NAME"], settings["PASSWORD"]) == ("shop", "secret")
    options = settings.setdefault("OPTIONS", {})
    assert options.get("sslmode") == ("require" if "sslmode" in url else None)
    options.setdefault("pool", True)  # As the engine takes it.
    assert (pool_options(settings).max_size, pool_options(settings).timeout) == (max_size, timeout)


def test_a_url_can_turn_the_pool_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://shop@db.example.com/shop?pool=false")
    settings = run("database-url", "import environ")["DATABASES"]["default"]
    assert parse_pool_options(settings["OPTIONS"]["pool"]) == (None, [])


@pytest.mark.parametrize(
    ("variable", "max_size", "timeout"),
    [(None, 5, 5.0), ("max_size=10,timeout=500ms", 10, 0.5)],
    ids=["unset", "set"],
)
def test_a_variable_of_their_own_can_have_the_options(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, max_size: int, timeout: float
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://shop@db.example.com/shop")
    if variable is None:
        monkeypatch.delenv("DATABASE_POOL", raising=False)
    else:
        monkeypatch.setenv("DATABASE_POOL", variable)
    names = run("database-url", "import environ")
    settings = run("database-url", "DATABASE_POOL", **names)["DATABASES"]["default"]
    assert (pool_options(settings).max_size, pool_options(settings).timeout) == (max_size, timeout)


def test_the_settings_of_djangos_pool_are_taken_over() -> None:
    options = pool_options(run("from-django-pool", "INSTALLED_APPS")["DATABASES"]["default"])
    assert (options.min_size, options.max_size, options.timeout) == (2, 10, 10.0)


def test_behind_pgbouncer_the_driver_prepares_nothing() -> None:
    """Which is also what Django does unless it is told otherwise, as the guide says."""
    settings = run("pgbouncer", "pgbouncer-transaction")["DATABASES"]["default"]
    options = pool_options(settings)
    assert (options.behind, options.max_lifetime) == ("pgbouncer-transaction", 1800.0)
    parameters = connections["default"].get_connection_params()
    assert parameters["prepare_threshold"] is None


def test_credentials_come_from_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for Amazon's library, and for the module of the project."""
    client = types.SimpleNamespace(generate_db_auth_token=lambda **given: f"token of {given}")
    boto3 = types.SimpleNamespace(client=lambda service: client)
    monkeypatch.setitem(sys.modules, "boto3", boto3)
    token = run("credentials", "import boto3")["rds_token"]
    given = token({"HOST": "db", "PORT": "5432", "USER": "shop"})
    assert "'DBHostname': 'db'" in given.password
    assert given.ttl == 900
    shop, tokens = types.ModuleType("shop"), types.ModuleType("shop.tokens")
    tokens.rds_token = token  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", shop)
    monkeypatch.setitem(sys.modules, "shop.tokens", tokens)
    settings = run("credentials", "shop.tokens.rds_token")["DATABASES"]["default"]
    assert pool_options(settings).credentials is token


def test_what_is_left_leased_fails_an_assertion_and_a_fake_pool_needs_no_server(pool: Pool) -> None:
    check = run("testing", "assert_nothing_is_leased")["assert_nothing_is_leased"]
    check()
    with unit_of_work():
        assert Customer.objects.count() == 0
        with pytest.raises(AssertionError, match="PoolStats"):
            check()
    check()
    assert run("testing", "FakeDriver")["pool"].stats().closed == {"pool_closed": 1}


def test_another_engine_is_wrapped_in_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for PostGIS's module, which cannot be imported without GDAL."""
    name = "django.contrib.gis.db.backends.postgis"
    package, base = types.ModuleType(name), types.ModuleType(f"{name}.base")
    base.DatabaseWrapper = stock.DatabaseWrapper  # type: ignore[attr-defined]
    package.base = base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, f"{name}.base", base)
    wrapper = run("engines", "PooledPostgreSQL")["DatabaseWrapper"]
    assert wrapper.__mro__[1:2] == (PooledPostgreSQL,)
    assert issubclass(wrapper, stock.DatabaseWrapper)


def test_an_engine_can_be_named_for_one_that_wraps_it() -> None:
    assert run("engines", "ORIGINAL_BACKEND")["ORIGINAL_BACKEND"] == ENGINE


def test_a_loop_over_a_consumer_handles_and_commits_each_message(pool: Pool) -> None:
    class Message:
        def __init__(self, failed: bool) -> None:
            self.failed = failed

        def error(self) -> bool:
            return self.failed

        def topic(self) -> str:
            return "orders"

    class Consumer:
        def __init__(self, configuration: object) -> None:
            self.messages = [Message(False), Message(True), Message(False)]
            self.committed: list[Message] = []
            self.leased: list[int] = []

        def subscribe(self, topics: list[str]) -> None:
            assert topics == ["orders"]

        def poll(self, timeout: float) -> Message:
            self.leased.append(taken(pool))
            message = self.messages.pop(0)
            if not self.messages:
                stopping.set()
            return message

        def commit(self, message: Message) -> None:
            self.committed.append(message)

    stopping = threading.Event()
    handled: list[int] = []
    release_connections()
    names = run(
        "integrations",
        "Consumer",
        Consumer=Consumer,
        handle=lambda message: handled.append(Order.objects.count()),
        stopping=stopping,
    )
    assert (handled, len(names["consumer"].committed)) == ([0, 0], 2)
    assert names["consumer"].leased == [0, 0, 0]


def test_an_asgi_application_is_wrapped_with_django_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounted = {}
    module = types.ModuleType("myproject.api")
    module.app = SimpleNamespace(mount=mounted.__setitem__)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "myproject", types.ModuleType("myproject"))
    monkeypatch.setitem(sys.modules, "myproject.api", module)
    names = run("integrations", "ASGIUnitOfWorkMiddleware")
    assert mounted == {"/": names["django_application"]}
    assert names["application"].app is module.app  # type: ignore[attr-defined]


def test_a_function_that_a_runner_calls_is_a_unit_of_work() -> None:
    assert run("integrations", "on_message")["on_message"]("body") is None


# Replicas


@pytest.mark.parametrize(("name", "words"), [("README", "replica_of"), ("replicas", "WEIGHT")])
def test_the_settings_of_replicas_pass_their_checks(
    pool: Pool, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: dict[str, Any] = {"DATABASES": {"default": connections.settings["default"]}}
    exec(example(name, words), spoken)
    own = {**connections.settings["default"], **spoken["DATABASES"]["replica"]}
    own["TEST"] = {**connections.settings["default"]["TEST"], **own["TEST"]}
    for setting in ("NAME", "USER", "PASSWORD", "HOST", "PORT"):
        own[setting] = spoken["DATABASES"]["replica"].get(setting, "")
    monkeypatch.setitem(connections.settings, "replica", own)
    try:
        assert run_checks(tags=["connmgr"]) == []
        (host, *_) = hosts_of("replica")
        assert (host.label, host.settings["NAME"]) == (
            f"10.0.0.2:{connections.settings['default']['PORT']}",
            connections.settings["default"]["NAME"],
        )
        assert import_string(spoken["DATABASE_ROUTERS"][0])
    finally:
        del connections["replica"]


def test_the_middleware_is_where_the_guide_says() -> None:
    spoken: dict[str, Any] = {}
    exec(example("replicas", "MIDDLEWARE"), spoken)
    assert import_string(spoken["MIDDLEWARE"][0]) is UnitOfWorkMiddleware


def test_a_task_is_handed_the_token_of_its_sender(pool: Pool) -> None:
    sent: list[str | None] = []
    later = SimpleNamespace(delay=lambda pk, token: sent.append(token))
    block = example("replicas", "require_token").split("\n\n\n")
    names = {"send_mail": later, "order": Order(pk=1), "current_token": current_token}
    with unit_of_work():
        exec(block[0], names)
    assert sent == [None]  # Nothing was committed.
    names["require_token"] = require_token
    exec(block[1], names)
    assert names["send_mail"](1, sent[0]) is None


def test_the_addresses_of_a_primary_are_found() -> None:
    settings = run("replicas", "target_session_attrs")["DATABASES"]["default"]
    addresses = addresses_of(settings)
    assert [(one["HOST"], one["PORT"]) for one in addresses] == [
        (f"10.0.0.{number}", "5432") for number in (1, 2, 3)
    ]
    assert choices_of(settings) == {"target_session_attrs": "primary"}
