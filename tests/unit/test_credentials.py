"""Users and passwords that a function of the project hands out, and that expire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from django_connmgr import Credentials, CredentialsError
from django_connmgr.backends import credentials as module
from django_connmgr.backends.credentials import Source, is_refusal, source_of
from django_connmgr.backends.postgresql.base import PooledPostgreSQL
from django_connmgr.backends.role import ReadingRole

from .helpers import PATIENCE, Worker

SETTINGS: dict[str, Any] = {
    "NAME": "shop", "USER": "ada", "PASSWORD": "static", "HOST": "db", "PORT": "5432",
    "OPTIONS": {},
}  # fmt: skip
SECRET = "hunter2"


class Clock:
    """In the place of ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Vault:
    """Hands out ``token-1``, ``token-2``, ..."""

    def __init__(self, ttl: float | None = None) -> None:
        self.ttl = ttl
        self.asked = 0
        self.seen: Any = None
        self.before: Callable[[], None] = lambda: None

    def __call__(self, settings: Any) -> Credentials:
        self.asked += 1
        number, self.seen = self.asked, settings
        self.before()
        return Credentials(f"token-{number}", ttl=self.ttl)


def source_to(ask: Any) -> Source:
    return Source(ask, SETTINGS)


def test_the_function_gets_the_settings_without_the_password() -> None:
    vault = Vault()
    source_to(vault).get(1)
    assert vault.seen == {key: value for key, value in SETTINGS.items() if key != "PASSWORD"}


def test_200_threads_at_once_ask_once() -> None:
    vault, all_wait = Vault(), threading.Event()
    vault.before = lambda: all_wait.wait(PATIENCE) and None
    source = source_to(vault)
    workers = [Worker(lambda: source.get(PATIENCE)) for _ in range(200)]
    all_wait.set()
    assert {worker.result().password for worker in workers} == {"token-1"}
    assert vault.asked == 1


def test_they_are_renewed_before_they_end(clock: Clock) -> None:
    vault = Vault(ttl=100)
    source = source_to(vault)
    assert source.get(1).password == "token-1"
    clock.now += 79
    assert source.get(1).password == "token-1"
    clock.now += 2
    assert source.get(1).password == "token-2"
    assert vault.asked == 2


def test_no_earlier_than_a_minute_before_the_end(clock: Clock) -> None:
    vault = Vault(ttl=3600)
    source = source_to(vault)
    source.get(1)
    clock.now += 3539
    assert source.get(1).password == "token-1"
    clock.now += 2
    assert source.get(1).password == "token-2"


def test_their_life_begins_with_the_call_and_not_with_its_end(clock: Clock) -> None:
    vault = Vault(ttl=10)

    def pass_time() -> None:
        clock.now += 9

    vault.before = pass_time
    source = source_to(vault)
    source.get(1)
    vault.before = lambda: None
    assert source.get(1).password == "token-2"


def test_while_one_thread_renews_them_the_others_use_the_ones_before(clock: Clock) -> None:
    vault = Vault(ttl=100)
    source = source_to(vault)
    source.get(1)
    clock.now += 90
    is_asking, may_answer = threading.Event(), threading.Event()

    def wait() -> None:
        is_asking.set()
        assert may_answer.wait(PATIENCE)

    vault.before = wait
    renewing = Worker(lambda: source.get(1))
    assert is_asking.wait(PATIENCE)
    assert source.get(PATIENCE).password == "token-1"
    may_answer.set()
    assert renewing.result().password == "token-2"
    assert source.get(1).password == "token-2"


def test_a_failure_to_renew_is_logged_and_the_ones_before_are_used(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Vault(ttl=100)
    source = source_to(vault)
    source.get(1)

    def fail() -> None:
        raise ValueError(SECRET)

    vault.before = fail
    clock.now += 90
    assert source.get(1).password == "token-1"
    assert "raised ValueError. The ones before are used until they end." in caplog.text
    assert SECRET not in caplog.text
    clock.now += 11
    with pytest.raises(CredentialsError):
        source.get(1)


def test_a_failure_is_shared_by_those_that_waited_and_asked_for_again_by_the_next() -> None:
    vault, all_wait = Vault(), threading.Event()
    waiting = threading.Semaphore(0)

    def fail() -> None:
        assert all_wait.wait(PATIENCE)
        raise ValueError(SECRET)

    vault.before = fail
    source = source_to(vault)

    class Lock:
        """Tells when a thread comes to wait."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def acquire(self, timeout: float) -> bool:
            waiting.release()
            return bool(self.inner.acquire(timeout=timeout))

        def release(self) -> None:
            self.inner.release()

    source._lock = Lock(source._lock)  # type: ignore[assignment]
    workers = [Worker(lambda: source.get(PATIENCE)) for _ in range(20)]
    for _ in workers:
        assert waiting.acquire(timeout=PATIENCE)
    all_wait.set()
    for worker in workers:
        with pytest.raises(CredentialsError, match="raised ValueError") as caught:
            worker.result()
        assert SECRET not in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)
    assert vault.asked == 1
    vault.before = lambda: None
    assert source.get(1).password == "token-2"


def test_who_waits_for_another_thread_waits_no_longer_than_its_timeout() -> None:
    vault, may_answer, is_asking = Vault(), threading.Event(), threading.Event()

    def wait() -> None:
        is_asking.set()
        assert may_answer.wait(PATIENCE)

    vault.before = wait
    source = source_to(vault)
    asking = Worker(lambda: source.get(1))
    assert is_asking.wait(PATIENCE)
    for timeout in (0.01, -1.5):
        with pytest.raises(CredentialsError, match="has not returned within"):
            source.get(timeout)
    may_answer.set()
    assert asking.result().password == "token-1"


def test_a_function_that_connects_with_what_it_is_asked_for_is_told() -> None:
    source = source_to(lambda _: source.get(0.01))
    with pytest.raises(CredentialsError) as caught:
        source.get(1)
    assert "has not returned within" in str(caught.value.__cause__)


def test_what_was_refused_is_forgotten_once(clock: Clock) -> None:
    vault = Vault()
    source = source_to(vault)
    source.get(1)
    assert not source.forget("token-1")  # It was just asked for: another is no better.
    clock.now += 2
    assert source.forget("token-1")
    assert source.get(1).password == "token-2"
    assert source.forget("token-1")  # There is a newer one already.
    assert source.get(1).password == "token-2"
    clock.now += 2
    assert source.forget(None)
    assert source.get(1).password == "token-3"


def test_what_another_thread_asked_for_meanwhile_is_not_forgotten(clock: Clock) -> None:
    vault = Vault()
    source = source_to(vault)
    source.get(1)
    clock.now += 2
    inner = source._lock

    class Lock:
        """Before the thread that forgets gets it, another one has forgotten and asked."""

        def __enter__(self) -> None:
            source._lock, source._known = inner, None
            source.get(1)

        def __exit__(self, *exc_info: object) -> None: ...

    source._lock = Lock()  # type: ignore[assignment]
    assert source.forget("token-1")
    assert source.get(1).password == "token-2"
    assert vault.asked == 2


def test_a_refused_probe_of_a_server_has_the_next_one_ask(clock: Clock) -> None:
    settings = {**SETTINGS, "OPTIONS": {"pool": {"credentials": Vault()}}}
    source = source_of(settings)
    assert source is not None
    role: Any = SimpleNamespace(addresses_of=lambda host: [settings], _engine=PooledPostgreSQL)
    source.get(1)
    clock.now += 2
    ReadingRole.note_refused_probe(role, None, OSError("connection refused"))
    assert source.get(1).password == "token-1"
    ReadingRole.note_refused_probe(role, None, OSError("password authentication failed"))
    assert source.get(1).password == "token-2"


@pytest.mark.parametrize("behind", [None, "rds-proxy", "pgbouncer-transaction"])
def test_sessions_on_replicas_are_read_only_where_a_pooler_can_follow_that(
    behind: str | None,
) -> None:
    settings = {**SETTINGS, "OPTIONS": {"pool": {"behind": behind}}}
    restricted = PooledPostgreSQL.restrict_to_reading(settings)
    assert ("options" in restricted["OPTIONS"]) is (behind != "pgbouncer-transaction")


@pytest.mark.parametrize("returned", [None, SECRET, (SECRET, 3)])
def test_what_is_no_credentials_is_told_without_it(returned: Any) -> None:
    with pytest.raises(CredentialsError, match="it has to return") as caught:
        source_to(lambda _: returned).get(1)
    assert SECRET not in str(caught.value)


def test_no_password_shows() -> None:
    assert SECRET not in repr(Credentials(SECRET, user="ada", ttl=3))


@pytest.mark.parametrize("ttl", [0, -1, "5", True])
def test_a_life_has_to_be_a_number_of_seconds(ttl: Any) -> None:
    with pytest.raises(ValueError, match="give a number of seconds above 0"):
        Credentials("x", ttl=ttl)


@pytest.mark.parametrize("given", [{"password": b"x"}, {"password": "x", "user": 3}])
def test_a_password_and_a_user_are_strings(given: Any) -> None:
    with pytest.raises(TypeError, match="takes strings"):
        Credentials(**given)


def test_aliases_with_one_function_and_address_share_them() -> None:
    vault = Vault()
    settings = {**SETTINGS, "OPTIONS": {"pool": {"credentials": vault}}}
    first = source_of(settings)
    assert first is not None
    assert source_of({**settings, "TIME_ZONE": "UTC"}) is first
    assert source_of({**settings, "HOST": "other"}) is not first
    assert source_of({**settings, "OPTIONS": {"pool": {"credentials": Vault()}}}) is not first
    module.after_fork()
    assert source_of(settings) is not first


@pytest.mark.parametrize("pool", [None, True, False, {}, {"max_size": 3}, "max_size=3"])
def test_without_the_option_there_are_none(pool: Any) -> None:
    assert source_of({**SETTINGS, "OPTIONS": {"pool": pool}}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FATAL:  password authentication failed for user "ada"', True),
        ("FATAL:  PAM authentication failed for user", True),
        ("FATAL:  SASL authentication failed", True),
        ("FATAL:  no such user", True),
        ("FATAL:  sorry, too many clients already", False),
        ("connection refused", False),
    ],
)
def test_which_refusals_are_of_user_and_password(text: str, expected: bool) -> None:
    assert is_refusal(Exception(text)) is expected
