"""``manage.py connmgr doctor``: what it finds on a healthy database, and on each sick one."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from testproject.cluster import Cluster
from testproject.pgbouncer import PgBouncerMissing, running_pgbouncer

from .conftest import PoolOf
from .server import Server, await_that

AliasOf = Callable[..., str]


def doctor(*arguments: str, status: int = 0) -> str:
    """What it prints, in one line of words, after it ended with ``status``."""
    out = io.StringIO()
    with pytest.raises(SystemExit) if status else contextlib.nullcontext() as ended:
        call_command("connmgr", "doctor", *arguments, stdout=out)
    assert ended is None or ended.value.code == status
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return " ".join(out.getvalue().split())


def test_a_healthy_database_is_found_well_and_nothing_is_left(
    pool_of: PoolOf, server: Server
) -> None:
    pool_of(max_size=4, reset="session")
    before = server.count()
    told = doctor("--alias", "default")
    assert told.count(" ok ") == 9, told
    for words in (
        "The server answers",
        "No pooler is in between.",
        "Two threads have used the same connection",
        "The limit holds: with 2 leased, one more waits.",
        "A connection comes back from a thread that ended without releasing it.",
        "An open transaction is rolled back",
        "A connection that was killed has been replaced",
        "max_size is 4, and the server takes 27 connections in all.",
    ):
        assert words in told
    await_that(lambda: server.count() == before)


def test_sqlite_is_examined_for_what_applies(pool_of: PoolOf) -> None:
    pool_of("file", max_size=2)
    told = doctor("--alias", "file")
    assert (told.count(" ok "), told.count(" skipped ")) == (6, 3), told


def test_all_of_it_as_json(pool_of: PoolOf) -> None:
    pool_of("file", max_size=2)
    out = io.StringIO()
    call_command("connmgr", "doctor", "--alias", "file", "--json", stdout=out)
    findings = json.loads(out.getvalue())["file"]
    assert findings[0] == {"outcome": "ok", "text": "The settings are in order.", "advice": ""}


def test_a_wrong_password_is_told_and_not_shown(alias_of: AliasOf) -> None:
    alias = alias_of(PASSWORD="hunter2")
    told = doctor("--alias", alias, status=1)
    assert "password authentication failed" in told
    assert "-> Correct USER and PASSWORD of this alias." in told
    assert "hunter2" not in told


def test_a_server_that_is_down_is_told(alias_of: AliasOf) -> None:
    told = doctor("--alias", alias_of(HOST="127.0.0.1", PORT="1"), status=1)
    assert "-> Start the server, or correct HOST and PORT of this alias." in told
    assert "The rest was not examined." in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NAME": "nowhere"}, "Correct NAME of this alias, or create that database."),
        ({"HOST": "nowhere.invalid"}, "Correct HOST of this alias, or the name service."),
        ({"OPTIONS": {"pool": {"maxsize": 1}}}, "Did you mean 'max_size'?"),
        ({"CONN_MAX_AGE": 60}, "Remove it: max_lifetime bounds connections."),
    ],
)
def test_wrong_settings_are_told(alias_of: AliasOf, changes: dict[str, object], words: str) -> None:
    assert words in doctor("--alias", alias_of(**changes), status=1)


def test_more_than_the_server_takes_is_told(pool_of: PoolOf) -> None:
    pool_of(max_size=28)
    told = doctor("--alias", "default", status=1)
    assert "failure max_size is 28, and the server takes 27 connections in all." in told


def test_much_of_what_the_server_takes_is_worth_a_word(pool_of: PoolOf) -> None:
    pool_of(max_size=20)
    assert "warning max_size is 20: one process may take most of the 27" in doctor(
        "--alias", "default"
    )
    pool_of(max_size=None)
    assert "warning max_size is None" in doctor("--alias", "default")


def test_a_role_s_limit_counts_too(pool_of: PoolOf, server: Server, alias_of: AliasOf) -> None:
    with contextlib.suppress(Exception):
        server.ask("DROP ROLE narrow")
    server._connection.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 3 PASSWORD 'x'")
    alias = alias_of(USER="narrow", PASSWORD="x", NAME=connections["default"].settings_dict["NAME"])
    told = doctor("--alias", alias, status=1)
    server._connection.execute("DROP ROLE narrow")
    assert "max_size is 4, and this role takes 3 connections in all." in told


@pytest.mark.parametrize(
    ("alias", "words"),
    [("nonsense", "There is no alias 'nonsense'"), ("stock", "is none of django_connmgr's")],
)
def test_what_cannot_be_examined_is_told(alias_of: AliasOf, alias: str, words: str) -> None:
    if alias == "stock":
        alias = alias_of(ENGINE="django.db.backends.sqlite3", OPTIONS={})
    with pytest.raises(CommandError, match=words):
        doctor("--alias", alias)


# Behind PgBouncer


@pytest.fixture
def bouncer(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The port of one in the mode that the test is parametrised with."""
    try:
        with running_pgbouncer(cluster, request.param) as url:
            yield str(urlsplit(url).port)
    except PgBouncerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
def test_session_features_in_transaction_mode_are_told(bouncer: str, alias_of: AliasOf) -> None:
    alias = alias_of(PORT=bouncer, OPTIONS={"pool": {"max_size": 2, "reset": "session"}})
    told = doctor("--alias", alias, status=1)
    assert (
        "failure A pooler is in between, in transaction mode, and server-side cursors are on, "
        "reset is 'session'." in told
    )
    assert "-> Set DISABLE_SERVER_SIDE_CURSORS = True." in told
    assert "Set OPTIONS['pool']['reset'] = 'rollback'." in told


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
def test_transaction_mode_with_the_right_settings_is_well(bouncer: str, alias_of: AliasOf) -> None:
    alias = alias_of(PORT=bouncer, DISABLE_SERVER_SIDE_CURSORS=True)
    told = doctor("--alias", alias)
    assert "ok A pooler is in between, in transaction mode, and no setting contradicts" in told


@pytest.mark.parametrize("bouncer", ["session"], indirect=True)
def test_session_mode_is_well_with_every_setting(bouncer: str, alias_of: AliasOf) -> None:
    alias = alias_of(PORT=bouncer, OPTIONS={"pool": {"max_size": 2, "reset": "session"}})
    assert "ok A pooler is in between, in session mode." in doctor("--alias", alias)
