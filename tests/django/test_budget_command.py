"""``manage.py connmgr budget``, and the check that does the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from django_connmgr.budget_check import check_budget

from .conftest import PoolOf

#: The well-known example: 2 x 6 web processes, and 10 workers.
PROCESSES = ("--process", "web=2x6", "--process", "jobs=1x10")


def budget(*arguments: str, status: int = 0) -> list[str]:
    """The lines that it prints, after it ended with ``status``."""
    out = io.StringIO()
    with pytest.raises(SystemExit) if status else nullcontext() as ended:
        call_command("connmgr", "budget", *arguments, stdout=out)
    assert ended is None or ended.value.code == status
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def test_a_pool_of_one_in_each_process_takes_22(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    lines = budget(*PROCESSES, "--alias", "default")
    assert "One connection for each process: 22" in lines
    assert "  The pools guarantee at most: 22" in lines
    assert "  The server takes: 27 (30 less 3 reserved)" in lines
    assert lines[-1] == "  It fits."


def test_four_threads_in_each_process_would_take_88(pool_of: PoolOf) -> None:
    pool_of(max_size=None)
    lines = budget(*PROCESSES, "--threads", "4", "--alias", "default", status=1)
    assert "One connection for each thread: 88" in lines
    assert "  The pools guarantee at most: 88" in lines
    assert lines[-2:] == [
        "  It does not fit: 61 too many. Set OPTIONS['pool']['max_size'] to 1 or less",
        "  (default).",
    ]


def test_what_the_pool_guarantees_is_told_instead(pool_of: PoolOf) -> None:
    pool_of(max_size=2)
    lines = budget(*PROCESSES, "--threads", "4", "--alias", "default", status=1)
    assert "One connection for each thread: 88" in lines
    assert "  The pools guarantee at most: 44" in lines


def test_a_pool_without_a_limit_guarantees_nothing(pool_of: PoolOf) -> None:
    pool_of(max_size=None)
    lines = budget(*PROCESSES, "--alias", "default", status=1)
    assert "  The pools guarantee nothing: max_size is None." in lines


def test_aliases_of_one_server_are_added_and_sqlite_has_no_limit(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    pool_of("second", max_size=1)
    pool_of("file", max_size=1)
    lines = budget("--process", "web=1x2")
    assert "  In one process: 1 of 'default', 1 of 'second'" in lines
    assert "  The pools guarantee at most: 4" in lines
    assert "  The server's limit: SQLite has no limit" in lines


def test_a_limit_may_be_given_and_no_server_is_asked(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_of(max_size=1)
    monkeypatch.setattr(type(connections["default"]), "cursor", lambda _: 1 / 0)
    lines = budget(*PROCESSES, "--alias", "default", "--max-connections", "10", status=1)
    assert "  The server takes: 10" in lines
    assert "Even a pool of 1 (default) is too much for 22 processes" in " ".join(
        map(str.strip, lines)
    )


def test_a_server_that_cannot_be_asked_is_told_about(alias_of: Callable[..., str]) -> None:
    alias = alias_of(HOST="127.0.0.1", PORT="1")
    lines = budget(*PROCESSES, "--alias", alias)
    assert "not known, because it cannot be asked" in " ".join(map(str.strip, lines))


def test_what_runs_may_stand_in_the_settings(pool_of: PoolOf) -> None:
    pool_of(max_size=1)
    with override_settings(CONNMGR={"PROCESSES": {"web": (2, 6), "jobs": (1, 10)}}):
        assert "One connection for each process: 22" in budget("--alias", "default")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "What runs? Name each group of processes, such as --process web=2x6"),
        (["--process", "web"], "'web' is no group of processes. Write NAME=HOSTSxPROCESSES"),
        (["--process", "web=2"], "'web=2' is no group"),
        (["--process", "web=0x3"], "numbers above 0"),
        (["--process", "web=axb"], "such as web=2x6"),
        ([*PROCESSES, "--threads", "0"], "--threads takes a whole number, 1 or more"),
    ],
)
def test_wrong_input_is_told_what_would_be_right(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError) as caught:
        budget(*arguments)
    assert words in str(caught.value)


def test_the_check_warns_if_all_pools_do_not_fit(pool_of: PoolOf) -> None:
    pool_of(max_size=2)
    with override_settings(CONNMGR={"PROCESSES": {"web": (4, 6)}}):
        (message,) = check_budget(databases=["default"])
        assert check_budget(databases=None) == []
    assert message.id == "connmgr.W009"
    assert "24 processes (CONNMGR['PROCESSES']) may open 96 connections" in message.msg
    assert "which takes 27" in message.msg
    assert check_budget(databases=["default"]) == []
