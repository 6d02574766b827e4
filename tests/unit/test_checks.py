from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.test import override_settings

from django_connmgr import budget_check, checks, pooler_check, replica_checks
from django_connmgr.app_settings import app_settings
from django_connmgr.backends import presence

ROOT = Path(checks.__file__).parent.parent


@pytest.fixture
def settings_of_default() -> Iterator[dict[str, Any]]:
    """The settings of one pooled alias, to be spoilt; they are whole again afterwards."""
    settings = connections.settings["default"]
    before = {**settings, "OPTIONS": dict(settings["OPTIONS"])}
    yield settings
    settings.clear()
    settings.update(before)


def run() -> list[tuple[str, str, str | None]]:
    messages = django_checks.run_checks(tags=["connmgr"])
    return [(str(message.id), message.msg, message.hint) for message in messages]


def test_sound_settings_pass() -> None:
    assert run() == []


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (
            {"maxsize": 5},
            (
                "connmgr.E001",
                "DATABASES['default']: Unknown pool option 'maxsize'.",
                "Did you mean 'max_size'?",
            ),
        ),
        (
            {"max_size": "many"},
            (
                "connmgr.E002",
                "DATABASES['default']: Pool option 'max_size' is 'many'.",
                "It takes a whole number, 1 or more, or None for no limit.",
            ),
        ),
        (
            ["max_size"],
            (
                "connmgr.E002",
                "DATABASES['default']: OPTIONS['pool'] is ['max_size'].",
                "It takes True, False, or a dict of options.",
            ),
        ),
        (
            {"min_size": 2, "max_size": 1},
            (
                "connmgr.E003",
                "DATABASES['default']: Pool option 'min_size' (2) is larger than 'max_size' (1).",
                "Lower min_size or raise max_size.",
            ),
        ),
    ],
)
def test_wrong_options_are_errors(
    settings_of_default: dict[str, Any], pool: object, expected: tuple[str, str, str]
) -> None:
    settings_of_default["OPTIONS"]["pool"] = pool
    assert run() == [expected]


@pytest.mark.parametrize("age", [60, None])
def test_a_max_age_beside_a_pool_is_an_error(
    settings_of_default: dict[str, Any], age: object
) -> None:
    settings_of_default["CONN_MAX_AGE"] = age
    assert run() == [
        (
            "connmgr.E004",
            (
                f"DATABASES['default']['CONN_MAX_AGE'] is {age!r}; "
                "a pooled connection outlives requests anyway."
            ),
            (
                "Remove CONN_MAX_AGE, and set OPTIONS['pool']['max_lifetime'] or 'max_idle' "
                "to bound the life of connections."
            ),
        )
    ]


def test_a_max_age_without_a_pool_is_django_s_own_business(
    settings_of_default: dict[str, Any],
) -> None:
    settings_of_default["CONN_MAX_AGE"] = 60
    settings_of_default["OPTIONS"]["pool"] = False
    assert run() == []


def test_the_engine_without_the_application_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence.apps, "is_installed", lambda name: name != "django_connmgr")
    (message,) = presence.check_app_installed()
    assert message.id == "connmgr.W001"
    assert message.hint == "Add 'django_connmgr' to INSTALLED_APPS."


@pytest.mark.parametrize(
    ("variable", "value", "threads"),
    [
        ("GUNICORN_CMD_ARGS", "--workers 2 --threads 16", 16),
        ("GUNICORN_CMD_ARGS", "--threads=16", 16),
        ("ASGI_THREADS", "16", 16),
    ],
)
def test_more_threads_than_connections_are_a_warning(
    settings_of_default: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    threads: int,
) -> None:
    for alias in ("second", "file"):
        monkeypatch.setitem(connections.settings[alias], "OPTIONS", {"pool": {"max_size": None}})
    settings_of_default["OPTIONS"]["pool"] = {"max_size": 4}
    monkeypatch.setenv(variable, value)
    assert run() == [
        (
            "connmgr.W002",
            (
                f"{variable} starts {threads} threads in each process, and the pool of 'default' "
                "has max_size=4: threads may have to wait for each other's connections."
            ),
            (
                f"Set OPTIONS['pool']['max_size'] to {threads} or more, or hold connections only "
                "in with_connection() blocks."
            ),
        )
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GUNICORN_CMD_ARGS", "--threads 2"), ("GUNICORN_CMD_ARGS", ""), ("ASGI_THREADS", "many")],
)
def test_fewer_threads_than_connections_are_fine(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert run() == []


@pytest.mark.parametrize(
    ("spoilt", "id_", "words"),
    [
        ({"OPTIONS": {"assume_role": "ada"}}, "connmgr.E009", "['OPTIONS']['assume_role']"),
        ({"DISABLE_SERVER_SIDE_CURSORS": False}, "connmgr.E009", "would not outlive"),
        ({"OPTIONS": {"prepare_threshold": 5}}, "connmgr.W010", "prepare statements"),
        ({"OPTIONS": {"options": "-c x=y"}}, "connmgr.W010", "refuses or drops"),
    ],
)
@pytest.mark.parametrize("pooler", ["pgbouncer-transaction", "rds-proxy"])
def test_what_a_pooler_does_not_go_with(
    settings_of_default: dict[str, Any], spoilt: dict[str, Any], id_: str, words: str, pooler: str
) -> None:
    options = {"pool": {"behind": pooler}, **spoilt.get("OPTIONS", {})}
    settings_of_default.update({**spoilt, "OPTIONS": options})
    ((told, message, hint),) = run()
    assert (told, bool(hint)) == (id_, True)
    assert words in message
    assert repr(pooler) in message
    options["pool"] = {}
    assert run() == []


def test_behind_a_pooler_sound_settings_pass(settings_of_default: dict[str, Any]) -> None:
    settings_of_default["OPTIONS"] = {"pool": "behind=pgbouncer-transaction,max_size=3"}
    assert run() == []


def test_each_id_stands_for_one_thing_and_is_documented() -> None:
    source = "".join(
        Path(str(module.__file__)).read_text()
        for module in (budget_check, checks, pooler_check, presence, replica_checks)
    )
    ids = re.findall(r'"(connmgr\.[EW]\d{3})"', source)
    assert sorted(set(ids)) == sorted(ids)
    documented = re.findall(r"^### (connmgr\.[EW]\d{3})$", documentation(), re.MULTILINE)
    assert documented == sorted(ids)


def documentation() -> str:
    path = ROOT / "docs" / "checks.md"
    if not path.exists():
        pytest.skip("The documentation is not installed with the package.")
    return path.read_text()


def test_the_engine_itself_registers_the_check_that_the_application_could_not() -> None:
    script = """
        import django
        from django.conf import settings

        engine = "django_connmgr.backends.sqlite3"
        settings.configure(
            DATABASES={"default": {"ENGINE": engine, "NAME": "unused.sqlite3"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=["testproject.shop"],
        )
        django.setup()
        from django.core import checks

        print([message.id for message in checks.run_checks()])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        check=False,
        cwd=Path(checks.__file__).parents[1],
        text=True,
    )
    assert (done.stdout, done.stderr) == ("['connmgr.W001']\n", "")


REPLICA = {
    "NAME": "",
    "USER": "",
    "PASSWORD": "",
    "HOST": "",
    "PORT": "",
    "ATOMIC_REQUESTS": False,
    "TEST": {"MIRROR": "default"},
}


@pytest.fixture
def replica(settings_of_default: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An alias of replicas, sound, to be spoilt."""
    options = {"replica_of": "default", "hosts": [{"HOST": "10.0.0.2"}]}
    connections.settings["copies"] = {**settings_of_default, **REPLICA, "OPTIONS": options}
    yield connections.settings["copies"]
    del connections["copies"]
    del connections.settings["copies"]


def test_a_sound_replica_passes(replica: dict[str, Any]) -> None:
    assert run() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"replica_of": "defaults"},
            (
                "connmgr.E006",
                "DATABASES['copies']: OPTIONS['replica_of'] is 'defaults', which is no alias.",
                "Did you mean 'default'?",
            ),
        ),
        (
            {"replica_of": "copies"},
            (
                "connmgr.E006",
                "DATABASES['copies']: OPTIONS['replica_of'] is 'copies'.",
                "Name a primary.",
            ),
        ),
        (
            {"replica_of": "file"},
            (
                "connmgr.E006",
                "DATABASES['copies']: ENGINE differs from its primary's.",
                "Use the same engine for both.",
            ),
        ),
        (
            {"hosts": []},
            (
                "connmgr.E006",
                "DATABASES['copies']: OPTIONS['hosts'] is no list of servers.",
                "It takes a list with one dict or more, such as {'HOST': '10.0.0.2'}.",
            ),
        ),
        (
            {"hosts": {"HOST": "10.0.0.2", "PASSWORD": "s3cret"}},
            (
                "connmgr.E006",
                "DATABASES['copies']: OPTIONS['hosts'] is no list of servers.",
                "It takes a list with one dict or more, such as {'HOST': '10.0.0.2'}.",
            ),
        ),
        (
            {"hosts": [{"HOST": "a", "ENDPOINT": "yes"}]},
            (
                "connmgr.E006",
                "DATABASES['copies']: 'ENDPOINT' is 'yes'.",
                "It takes True or False.",
            ),
        ),
        (
            {"hosts": [{"PORT": 5432}]},
            (
                "connmgr.E006",
                "DATABASES['copies']: An entry of OPTIONS['hosts'] has no 'HOST'.",
                "Give it the server's address.",
            ),
        ),
        (
            {"hosts": [{"HOST": "a", "WEIGHTS": 2}]},
            (
                "connmgr.E006",
                "DATABASES['copies']: An entry of OPTIONS['hosts'] has an unknown key 'WEIGHTS'.",
                "Did you mean 'WEIGHT'?",
            ),
        ),
        (
            {"hosts": [{"HOST": "a", "WEIGHT": 0}]},
            (
                "connmgr.E006",
                "DATABASES['copies']: 'WEIGHT' is 0.",
                "It takes a number above 0.",
            ),
        ),
    ],
)
def test_wrong_settings_of_a_replica_are_errors(
    replica: dict[str, Any], changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    replica["OPTIONS"].update(changes)
    replica["TEST"] = {"MIRROR": replica["OPTIONS"]["replica_of"]}
    assert run() == [expected]


def test_a_transaction_for_each_request_on_a_replica_is_an_error(replica: dict[str, Any]) -> None:
    replica["ATOMIC_REQUESTS"] = True
    assert [message[0] for message in run()] == ["connmgr.E007"]


def test_a_replica_that_is_no_mirror_in_tests_is_warned_about(replica: dict[str, Any]) -> None:
    replica["TEST"] = {"MIRROR": None}
    assert [message[0] for message in run()] == ["connmgr.W004"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("session", ("connmgr.E005", "CONNMGR is 'session'.", "It takes a dict.")),
        (
            {"CONSISTENT": "session"},
            (
                "connmgr.E005",
                "CONNMGR has an unknown key 'CONSISTENT'.",
                "Did you mean 'CONSISTENCY'?",
            ),
        ),
        (
            {"BALANCE": "fair"},
            (
                "connmgr.E005",
                "CONNMGR['BALANCE'] is 'fair'.",
                "It takes 'least_leases' or 'round_robin' or 'random'.",
            ),
        ),
        (
            {"ALWAYS_PRIMARY": "shop"},
            (
                "connmgr.E005",
                "CONNMGR['ALWAYS_PRIMARY'] is 'shop'.",
                "It takes a list of strings: 'app' or 'app.Model'.",
            ),
        ),
    ],
)
def test_wrong_settings_of_the_project_are_errors(
    value: object, expected: tuple[str, str, str]
) -> None:
    with override_settings(CONNMGR=value):
        assert run() == [expected]
        with pytest.raises(ImproperlyConfigured, match=re.escape(expected[1])):
            app_settings()


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": IsolationLevel.SERIALIZABLE},
        {"options": "-c default_transaction_isolation=serializable"},
    ],
)
def test_serializable_transactions_on_a_replica_are_an_error(
    replica: dict[str, Any], options: dict[str, Any]
) -> None:
    replica["OPTIONS"].update(options)
    assert [message[0] for message in run()] == ["connmgr.E008"]


def test_they_are_also_if_the_primary_asks_for_them(
    replica: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", IsolationLevel.SERIALIZABLE)
    assert [message[0] for message in run()] == ["connmgr.E008"]
    replica["OPTIONS"]["isolation_level"] = IsolationLevel.REPEATABLE_READ
    assert run() == []


OURS = "django_connmgr.middleware.UnitOfWorkMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([OURS, COMMON], []),
        ([COMMON], []),
        ([COMMON, "no.such.Middleware"], []),
        (["no.such.Middleware", OURS], ["connmgr.W005"]),
        ([COMMON, OURS], ["connmgr.W005"]),
    ],
)
def test_the_middleware_belongs_before_all_others(
    middleware: list[str], expected: list[str]
) -> None:
    with override_settings(MIDDLEWARE=middleware):
        assert [message[0] for message in run()] == expected
