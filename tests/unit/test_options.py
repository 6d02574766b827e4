from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from django_connmgr.conf import PoolOptions, Problem, parse_pool_options


def parse(raw: object) -> PoolOptions:
    options, problems = parse_pool_options(raw)
    assert problems == []
    assert options is not None
    return options


def problem(raw: object) -> Problem:
    _, problems = parse_pool_options(raw)
    (only,) = problems
    return only


def changed(options: PoolOptions) -> dict[str, Any]:
    """What differs from the defaults."""
    defaults = PoolOptions()
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != getattr(defaults, field.name)
    }


@pytest.mark.parametrize("raw", [True, "true", "True", " yes ", "on", "1", {}])
def test_a_pool_with_every_default(raw: object) -> None:
    assert changed(parse(raw)) == {}


@pytest.mark.parametrize("raw", [False, None, "false", "no", "OFF", "0"])
def test_no_pool(raw: object) -> None:
    assert parse_pool_options(raw) == (None, [])


@pytest.mark.parametrize("raw", ["maybe", "", 1, 2.5, [], ["max_size"], object])
def test_neither_a_pool_nor_none(raw: object) -> None:
    options, problems = parse_pool_options(raw)
    assert options is None
    assert problems == [
        Problem(
            "value", f"OPTIONS['pool'] is {raw!r}.", "It takes True, False, or a dict of options."
        )
    ]


def test_options_of_the_right_types_are_taken_as_they_are() -> None:
    given = {
        "max_size": 10,
        "min_size": 2,
        "timeout": 2.5,
        "max_connecting": 3,
        "max_waiting": 100,
        "max_idle": 60.0,
        "max_lifetime": 600.0,
        "keepalive": 20.0,
        "reap_interval": 10.0,
        "check_after": 1.0,
        "reclaim": False,
        "leak_threshold": 30.0,
        "slow_acquire": 0.5,
        "idle_transaction": 60.0,
        "release": "transaction",
        "permanent_checkout": "warn",
        "reset": print,
        "check": len,
        "configure": repr,
        "credentials": dict,
        "behind": "rds-proxy",
    }
    assert changed(parse(given)) == given
    assert set(given) == {field.name for field in dataclasses.fields(PoolOptions)}


def test_options_come_as_strings_from_urls_and_environments() -> None:
    assert changed(parse({"max_size": "10", "timeout": "2.5", "max_idle": "5m"})) == {
        "max_size": 10,
        "timeout": 2.5,
        # "5m" is the default of max_idle, written otherwise.
    }
    assert changed(parse("max_size=10, timeout=2.5 ,min_size=1,")) == {
        "max_size": 10,
        "timeout": 2.5,
        "min_size": 1,
    }


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("2", 2.0),
        ("2.", 2.0),
        (".5", 0.5),
        ("2.5s", 2.5),
        (" 5 m ", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        (7, 7.0),
        (0, 0.0),
    ],
)
def test_times_have_units(written: object, seconds: float) -> None:
    value = parse({"max_lifetime": written}).max_lifetime
    assert value == seconds
    assert isinstance(value, float)


@pytest.mark.parametrize("written", ["5x", "-1", "", "1e3", "five", -1, float("nan"), float("inf")])
def test_what_is_no_time(written: object) -> None:
    assert problem({"max_idle": written}) == Problem(
        "value",
        f"Pool option 'max_idle' is {written!r}.",
        "It takes a number of seconds, 0 or more, such as 2.5, '2.5', '500ms' or '5m'.",
    )


@pytest.mark.parametrize("written", [0, "0", True, None])
def test_a_deadline_cannot_be_zero(written: object) -> None:
    assert problem({"timeout": written}).kind == "value"


@pytest.mark.parametrize("written", [None, "none", " None "])
def test_max_size_may_have_no_limit(written: object) -> None:
    assert parse({"max_size": written}).max_size is None


@pytest.mark.parametrize(
    ("key", "written", "takes"),
    [
        ("max_size", 0, "a whole number, 1 or more, or None for no limit"),
        ("max_size", "many", "a whole number, 1 or more, or None for no limit"),
        ("max_size", True, "a whole number, 1 or more, or None for no limit"),
        ("max_size", 2.5, "a whole number, 1 or more, or None for no limit"),
        ("max_connecting", 0, "a whole number, 1 or more"),
        ("min_size", -1, "a whole number, 0 or more"),
        ("min_size", None, "a whole number, 0 or more"),
        ("max_waiting", "2.5", "a whole number, 0 or more"),
        ("reset", None, "'rollback', 'session', or a callable or its dotted path"),
        ("reset", 3, "'rollback', 'session', or a callable or its dotted path"),
        ("check", 3, "a callable or its dotted path"),
        ("configure", "os.name", "a callable or its dotted path"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(
    key: str, written: object, takes: str
) -> None:
    assert problem({key: written}) == Problem(
        "value", f"Pool option {key!r} is {written!r}.", f"It takes {takes}."
    )


def test_a_callable_may_be_given_by_its_dotted_path() -> None:
    options = parse({"check": "os.path.join", "reset": "os.getcwd", "configure": None})
    import os

    assert (options.check, options.reset, options.configure) == (os.path.join, os.getcwd, None)


def test_a_dotted_path_that_leads_nowhere_is_told_with_the_reason() -> None:
    assert problem({"check": "nowhere.at_all"}).hint == (
        "It takes a callable or its dotted path (No module named 'nowhere')."
    )


def test_reset_by_rollback_is_the_default() -> None:
    assert parse({"reset": "rollback"}).reset == parse(True).reset == "rollback"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("maxsize", "max_size"), ("time_out", "timeout"), ("keep_alive", "keepalive")],
)
def test_an_unknown_option_is_told_with_the_nearest_known_one(key: str, nearest: str) -> None:
    assert problem({key: 1}) == Problem(
        "unknown", f"Unknown pool option {key!r}.", f"Did you mean {nearest!r}?"
    )


@pytest.mark.parametrize("key", ["colour", 7])
def test_an_option_like_no_other_is_told_with_all_of_them(key: object) -> None:
    assert problem({key: 1}).hint == (
        "The options are: behind, check, check_after, configure, credentials, idle_transaction, "
        "keepalive, leak_threshold, max_connecting, max_idle, max_lifetime, max_size, "
        "max_waiting, min_size, permanent_checkout, reap_interval, reclaim, release, reset, "
        "slow_acquire, timeout."
    )


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "open",
        "num_workers",
        "reconnect_timeout",
        "reconnect_failed",
        "kwargs",
        "connection_class",
        "close_returns",
    ],
)
def test_an_option_of_psycopg_pool_only_is_told_with_why_it_is_not_needed(key: str) -> None:
    """Settings for Django's own pool work here as they are, and are told of."""
    options, (found,) = parse_pool_options({key: 1, "max_size": 7})
    assert options is not None
    assert changed(options) == {"max_size": 7}
    assert (found.kind, found.message) == (
        "ignored",
        f"Pool option {key!r} is psycopg_pool's; this pool does not need it.",
    )
    assert found.hint.startswith("Remove it: ")


def test_options_that_contradict_each_other() -> None:
    assert problem({"min_size": 6, "max_size": 5}) == Problem(
        "conflict",
        "Pool option 'min_size' (6) is larger than 'max_size' (5).",
        "Lower min_size or raise max_size.",
    )
    assert parse({"min_size": 6, "max_size": None}).min_size == 6
    assert parse({"min_size": 5, "max_size": 5}).min_size == 5


def test_a_reset_of_the_session_contradicts_a_pooler_that_shares_it() -> None:
    told = problem({"behind": "pgbouncer-transaction", "reset": "session"})
    assert told.kind == "conflict"
    assert told.message == (
        "Pool option 'reset' is 'session', but behind 'pgbouncer-transaction' sessions are shared."
    )
    assert parse({"behind": None, "reset": "session"}).behind is None
    assert parse("behind=None").behind is None


def test_an_unknown_pooler_is_told_with_the_known_ones() -> None:
    assert problem({"behind": "pgpool"}).hint == (
        "It takes 'pgbouncer-transaction' or 'rds-proxy', or None."
    )


def test_what_needs_the_background_thread_contradicts_its_absence() -> None:
    assert problem({"keepalive": 60, "reap_interval": 0}) == Problem(
        "conflict",
        "Pool option 'keepalive' needs the background thread, and 'reap_interval' is 0.",
        "Remove 'keepalive', or set reap_interval to a number of seconds above 0.",
    )


def test_a_wrong_value_contradicts_nothing() -> None:
    assert problem({"max_size": "many", "min_size": 10}).kind == "value"


def test_every_problem_is_told_at_once() -> None:
    _, problems = parse_pool_options({"maxsize": 1, "timeout": "soon", "min_size": 9})
    assert [found.kind for found in problems] == ["unknown", "value", "conflict"]


def test_health_checks_are_a_shorter_check_after_unless_that_is_given() -> None:
    options, _ = parse_pool_options(True, health_checks=True)
    assert options is not None
    assert changed(options) == {"check_after": 0.5}
    options, _ = parse_pool_options({"check_after": 7}, health_checks=True)
    assert options is not None
    assert options.check_after == 7


def test_options_cannot_be_changed_afterwards() -> None:
    options: Any = parse(True)
    change: Callable[[], None] = lambda: setattr(options, "max_size", 1)  # noqa: E731
    with pytest.raises(dataclasses.FrozenInstanceError):
        change()
