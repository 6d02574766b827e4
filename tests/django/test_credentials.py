"""Credentials that a function hands out, against a server that knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from django_connmgr import Credentials, CredentialsError, dedicated, pools
from django_connmgr.backends import credentials as module
from testproject.cluster import Cluster

from .process import Python
from .threads import ask, in_a_thread, in_threads

AliasOf = Callable[..., str]
SECRET = "not-to-be-seen"


class Vault:
    """Changes the password of a role whenever it is asked, as short-lived tokens end."""

    def __init__(self, cluster: Cluster, role: str) -> None:
        self.cluster, self.role = cluster, role
        self.ttl: float | None = None
        self.asked = 0

    def rotate(self, password: str) -> None:
        self.cluster.psql(f"ALTER ROLE {self.role} PASSWORD '{password}'")

    def __call__(self, settings: Any) -> Credentials:
        self.asked += 1
        self.rotate(f"token-{self.asked}")
        return Credentials(f"token-{self.asked}", user=self.role, ttl=self.ttl)


@pytest.fixture
def vault(cluster: Cluster) -> Iterator[Vault]:
    cluster.psql("CREATE ROLE tokens LOGIN")
    yield Vault(cluster, "tokens")
    module.after_fork()
    cluster.psql("DROP ROLE tokens")


@pytest.fixture
def alias(alias_of: AliasOf, vault: Vault, cluster: Cluster) -> str:
    return alias_of(
        cluster, PASSWORD=SECRET, OPTIONS={"pool": {"max_size": 200, "credentials": vault}}
    )


def query(alias: str) -> str:
    return str(ask("SELECT current_user", using=alias))


def test_connections_are_opened_with_them(alias: str, vault: Vault) -> None:
    assert query(alias) == "tokens"
    connections[alias].close()
    with dedicated(alias) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("tokens",)
    assert vault.asked == 1


def test_40_connects_at_once_ask_once(alias: str, vault: Vault) -> None:
    assert in_threads(40, lambda: (query(alias), connections[alias].close())[0]) == ["tokens"] * 40
    assert vault.asked == 1


def test_a_password_that_was_changed_is_asked_for_anew(
    alias: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "YOUNG", 0)
    assert query(alias) == "tokens"
    vault.rotate("another")
    assert query(alias) == "tokens"  # What is open stays.
    assert vault.asked == 1
    connections[alias].close()
    pools[alias].recycle()
    assert in_threads(10, lambda: (query(alias), connections[alias].close())[0]) == ["tokens"] * 10
    assert vault.asked == 2


def test_they_are_renewed_before_the_server_refuses_them(alias: str, vault: Vault) -> None:
    vault.ttl = 0.05
    for _ in range(4):
        assert query(alias) == "tokens"
        connections[alias].close()
        pools[alias].recycle()
        module.time.sleep(0.05)
    assert vault.asked == 4
    assert pools[alias].stats().connect_failures == 0


def test_a_function_that_fails_is_told_and_asked_again(
    alias_of: AliasOf, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [ValueError(SECRET), None]

    def fail(settings: Any) -> Credentials:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return Credentials(cluster.password)

    alias = alias_of(cluster, PASSWORD="wrong", OPTIONS={"pool": {"credentials": fail}})
    with pytest.raises(CredentialsError, match=r"credentials.*fail.* raised ValueError") as caught:
        query(alias)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(pools[alias])
    assert query(alias) == "connmgr"
    connections[alias].close()
    assert SECRET not in caplog.text


def test_a_server_that_refuses_all_of_them_is_told_at_once(
    alias_of: AliasOf, cluster: Cluster
) -> None:
    asked: list[Any] = []

    def lie(settings: Any) -> Credentials:
        asked.append(settings)
        return Credentials("lie")

    alias = alias_of(cluster, OPTIONS={"pool": {"credentials": lie}})
    for _ in range(2):
        with pytest.raises(Exception, match="password authentication failed"):
            in_a_thread(lambda: query(alias))
    assert len(asked) == 1


def test_psycopg_2_connects_with_them_too(python: Python) -> None:
    out = python(
        """
        from django.db import connections
        from django_connmgr.backends import credentials as module

        asked = []

        def token(settings):
            asked.append("PASSWORD" in settings)
            return Credentials(password)

        settings = connections.settings["default"]
        password, settings["PASSWORD"] = settings["PASSWORD"], "wrong"
        settings["OPTIONS"]["pool"] = {"max_size": 2, "credentials": token}
        print(ask("SELECT 1"), asked)
        module.YOUNG = 0
        right, password = password, "wrong"
        pools["default"].recycle()
        connection.close()
        module.source_of(settings).forget(None)
        try:
            ask()
        except OperationalError as error:
            print("authentication failed" in str(error))
        password = right
        print(ask("SELECT 2"), len(asked))
        """,
        driver="psycopg2",
    )
    assert out.splitlines() == ["1 [False]", "True", "2 4"]


def test_a_forked_child_asks_for_itself(python: Python) -> None:
    out = python(
        """
        from django.db import connections

        asked = []

        def token(settings):
            asked.append(os.getpid())
            return Credentials(password)

        settings = connections.settings["default"]
        password, settings["PASSWORD"] = settings["PASSWORD"], "wrong"
        settings["OPTIONS"]["pool"] = {"max_size": 2, "credentials": token}
        ask()
        pid = os.fork()
        if not pid:
            ask()
            print(len(asked), asked[-1] == os.getpid(), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(len(asked))
        """
    )
    assert out.splitlines() == ["2 True", "1"]
