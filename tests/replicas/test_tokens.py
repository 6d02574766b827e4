"""What a token covers, whatever happens while it is made."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.core import signing
from django.core.cache import cache
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from django_connmgr import (
    ThreadPoolExecutor,
    current_token,
    require_token,
    unit_of_work,
    with_connection,
)
from django_connmgr._pool.position import NOWHERE, Position
from django_connmgr.app_settings import app_settings
from django_connmgr.backends.wrapper import PooledWrapper
from django_connmgr.consistency import memory
from django_connmgr.consistency.carriers import COOKIE
from django_connmgr.consistency.tokens import merge_tokens, required_of
from django_connmgr.middleware import UnitOfWorkMiddleware
from django_connmgr.registry import registry
from django_connmgr.routers import explain_route
from testproject.replication import Replication
from testproject.shop.models import Customer

from .conftest import INTERVAL, REPLICA
from .test_routing import port_here


def entries_of(token: str | None) -> dict[str, Any]:
    assert token is not None
    entries: dict[str, Any] = signing.loads(token, salt="django_connmgr.token")
    return entries


def position_of(token: str | None) -> Position:
    return Position.parse(entries_of(token)["default"])


def serve(view: Any) -> HttpResponse:
    response: HttpResponse = UnitOfWorkMiddleware(view)(RequestFactory().get("/"))
    return response


def create(name: str = "Ada") -> Customer:
    return Customer.objects.using("default").create(name=name)


@pytest.fixture
def paused_token(project: Replication) -> str | None:
    """Of one row, which no replica shows."""
    for replica in project.replicas:
        replica.pause_replay()
    with unit_of_work():
        create()
        return current_token()


# Making it


def test_a_task_that_is_sent_in_a_transaction_that_fails_costs_no_later_token(
    project: Replication,
) -> None:
    def view(_: HttpRequest) -> HttpResponse:
        create()
        try:
            with transaction.atomic():
                assert position_of(current_token()) == NOWHERE  # It leads to the primary.
                raise ZeroDivisionError
        except ZeroDivisionError:
            return HttpResponse()

    reached = position_of(serve(view).cookies[COOKIE].value)
    assert reached.timeline == project.primary.timeline()


def test_a_commit_of_another_thread_is_in_the_token_that_is_made_after_it(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, committed = threading.Event(), threading.Event()
    ask = PooledWrapper.log_position

    def slow(self: PooledWrapper) -> Position | None:
        answer = ask(self)
        if not asked.is_set():
            asked.set()
            assert committed.wait(10)
        return answer

    def write() -> None:
        assert asked.wait(10)
        create("Grace")
        committed.set()

    monkeypatch.setattr(PooledWrapper, "log_position", slow)
    with unit_of_work(), ThreadPoolExecutor(2) as threads:
        create()
        first = threads.submit(current_token)
        threads.submit(write).result()
        before = position_of(first.result())
        token = position_of(current_token())
    assert token > before
    assert token == connections["default"].log_position()  # type: ignore[attr-defined]


def test_requests_of_one_user_at_the_same_time_end_with_the_later_token(
    project: Replication,
) -> None:
    """One that asked early for a task ends last."""
    may_write, has_ended = threading.Event(), threading.Event()

    def slow(_: HttpRequest) -> HttpResponse:
        create()
        current_token()
        may_write.set()
        assert has_ended.wait(10)
        return HttpResponse()

    def quick() -> None:
        assert may_write.wait(10)
        serve(lambda _: HttpResponse(create("Grace").name))
        tokens.append(cache.get("connmgr_token:ada"))
        connections.close_all()
        has_ended.set()

    tokens: list[str] = []
    cache.clear()
    settings = {"PROBE_INTERVAL": INTERVAL, "CARRIER": "cache", "CARRIER_KEY": lambda _: "ada"}
    with override_settings(CONNMGR=settings):
        thread = threading.Thread(target=quick)
        thread.start()
        serve(slow)
        thread.join()
        tokens.append(cache.get("connmgr_token:ada"))
    first, last = map(position_of, tokens)
    assert last >= first


def test_merged_tokens_cover_both() -> None:
    def token(**entries: Any) -> str:
        return signing.dumps(entries, salt="django_connmgr.token")

    merged = merge_tokens(token(a="1-0/5", b="2-0/1", c=7.0), token(a="1-0/3", b="1-0/9", d=8.0))
    assert entries_of(merged) == {"a": "1-0/5", "b": "2-0/1", "c": 7.0, "d": 8.0}
    assert entries_of(merge_tokens("forged", token(a="1-0/3"))) == {"a": "1-0/3"}
    assert entries_of(merge_tokens(None, token(a="1-0/3"))) == {"a": "1-0/3"}


def test_a_response_waits_no_longer_than_a_read_for_a_connection_to_ask_with(
    project: Replication,
) -> None:
    connections.settings["default"]["OPTIONS"]["pool"] = {"max_size": 1, "timeout": 30}
    connections["default"].close()
    registry.close("default")
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with with_connection("default"):
            is_held.set()
            assert is_over.wait(30)
        connections.close_all()

    def view(_: HttpRequest) -> HttpResponse:
        create()
        thread.start()
        assert is_held.wait(10)
        return HttpResponse(str(time.monotonic()))

    thread = threading.Thread(target=hold)
    response = serve(view)
    is_over.set()
    thread.join()
    assert time.monotonic() - float(response.content) < 5
    assert position_of(response.cookies[COOKIE].value) == NOWHERE


def test_a_commit_whose_outcome_is_not_known_is_in_the_token(
    project: Replication, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = type(connection.cursor().connection).commit

    def commit_and_fail(self: Any) -> None:
        commit(self)
        raise connections["default"].Database.OperationalError("the server is gone")

    def view(_: HttpRequest) -> HttpResponse:
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(OperationalError),
            transaction.atomic(),
        ):
            create()
            patch.setattr(type(connection.connection), "commit", commit_and_fail)
        return HttpResponse()

    assert COOKIE in serve(view).cookies
    assert Customer.objects.using("default").count() == 1


def test_an_update_among_several_statements_is_noticed(project: Replication) -> None:
    create()
    with unit_of_work():
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE shop_customer SET name = '' WHERE false; UPDATE shop_customer SET name = ''"
            )
        assert explain_route(Customer).startswith("default")
        assert current_token() is not None


# Jobs in a command


def test_jobs_in_a_command_do_not_share_what_they_wrote(project: Replication) -> None:
    seen: list[Any] = []

    class Worker(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args: Any, **options: Any) -> None:
            for number in range(3):
                with unit_of_work(f"job {number}"):
                    if not number:
                        create()
                        seen.append(explain_route(Customer)[:7])
                    else:
                        seen.append((explain_route(Customer)[:6], current_token(), port_here()))

    Worker().execute(no_color=True, force_color=False, skip_checks=True)
    assert seen[0] == "default"
    assert [one[:2] for one in seen[1:]] == [(REPLICA, None)] * 2
    assert {one[2] for one in seen[1:]} == {replica.port for replica in project.replicas}


def test_what_a_command_wrote_itself_is_read_in_its_units_for_a_while(
    project: Replication,
) -> None:
    class Import(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args: Any, **options: Any) -> None:
            create()
            with unit_of_work():
                assert explain_route(Customer).startswith("default")
                with unit_of_work():
                    assert explain_route(Customer).startswith("default")

    Import().execute(no_color=True, force_color=False, skip_checks=True)


def test_a_command_inside_of_a_request_is_a_part_of_it(project: Replication) -> None:
    class Inner(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args: Any, **options: Any) -> None:
            with unit_of_work():
                assert explain_route(Customer).startswith("default")

    with unit_of_work():
        create()
        Inner().execute(no_color=True, force_color=False, skip_checks=True)


# Requiring it, with a connection at hand to a replica that lacks the write


def count_rows() -> int:
    return Customer.objects.using(REPLICA).count()


def iterate() -> int:
    return len(list(Customer.objects.using(REPLICA).iterator()))


def in_transaction() -> int:
    with transaction.atomic(using=REPLICA):
        return count_rows()


@pytest.mark.parametrize("read", [count_rows, iterate, in_transaction])
def test_a_warm_connection_is_not_kept_to_a_replica_that_lacks_the_write(
    paused_token: str | None, read: Any
) -> None:
    with unit_of_work():
        port_here()
        require_token(paused_token)
        assert read() == 1


def test_a_block_moves_to_another_server_for_a_token(paused_token: str | None) -> None:
    with unit_of_work(), with_connection(REPLICA):
        assert count_rows() == 0
        require_token(paused_token)
        assert count_rows() == 1


def test_a_checkout_without_a_statement_leaves_no_trace_in_the_next_unit(
    project: Replication, paused_token: str | None
) -> None:
    with unit_of_work():
        require_token(paused_token)
        with with_connection(REPLICA):
            pass
    for _ in range(3):
        with unit_of_work():
            assert port_here() != project.primary.port


def test_outside_of_units_a_token_that_is_too_old_does_not_make_a_new_one_count_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def token(position: str) -> str:
        return signing.dumps({"default": position}, salt="django_connmgr.token")

    monkeypatch.setattr(memory, "_outside", memory.Memory())
    require_token(token("1-0/5"))
    require_token(token("2-0/5"))
    assert required_of("default") == NOWHERE
    later = time.time() + app_settings().TOKEN_TTL + 1
    monkeypatch.setattr(time, "time", lambda: later)
    require_token(token("2-0/5"))
    assert required_of("default") == Position(2, 5)
