"""A pool in front of PgBouncer, with TLS and SCRAM, in both of its modes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from django.db import connections, transaction

from django_connmgr import DeadlineExceeded, pools, unit_of_work
from testproject.cluster import Cluster
from testproject.pgbouncer import PgBouncerMissing, running_pgbouncer
from testproject.shop.models import Customer

from .server import await_that
from .threads import ask, in_threads, taken

AliasOf = Callable[..., str]
#: And the connections to the server: in session mode each of ours has one.
MODES = {"transaction": 2, "session": 10}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=list(MODES))
def bouncer(
    cluster: Cluster,
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, str]]:
    """Its mode and its port."""
    directory = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = directory / "key", directory / "chain"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    try:
        with running_pgbouncer(
            cluster, request.param, size=MODES[request.param], tls=(key, chain)
        ) as url:
            yield request.param, str(urlsplit(url).port)
    except PgBouncerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def alias(
    alias_of: AliasOf, bouncer: tuple[str, str], authority: trustme.CA, tmp_path: Path
) -> str:
    mode, port = bouncer
    authority.cert_pem.write_to_path(tmp_path / "ca")
    tls = {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "ca")}
    behind = {"behind": "pgbouncer-transaction"} if mode == "transaction" else {}
    name = connections["default"].settings_dict["NAME"]
    return alias_of(NAME=name, PORT=port, OPTIONS={**tls, "pool": {"max_size": 4, **behind}})


def test_it_takes_no_client_without_tls(alias_of: AliasOf, bouncer: tuple[str, str]) -> None:
    alias = alias_of(PORT=bouncer[1], OPTIONS={"sslmode": "disable"})
    with pytest.raises(Exception, match="SSL required"):
        ask(using=alias)


def test_more_threads_than_its_connections_query_and_write(alias: str) -> None:
    def work() -> int:
        with unit_of_work():
            with transaction.atomic(alias):
                Customer.objects.using(alias).create(name="bounced")
            return int(ask("SELECT 1", using=alias))

    assert in_threads(8, work) == [1] * 8
    assert Customer.objects.using(alias).filter(name="bounced").count() == 8
    connections[alias].close()
    stats = pools[alias].stats()
    assert (stats.timeouts, taken(pools[alias]), stats.opened <= 4) == (0, 0, True)


def test_rows_can_be_read_in_chunks_outside_of_transactions(alias: str) -> None:
    """With server-side cursors they could not, in transaction mode: each fetch may be another's."""
    for number in range(5):
        Customer.objects.using(alias).create(name=f"chunk {number}")

    def read() -> int:
        with unit_of_work():
            return len([*Customer.objects.using(alias).iterator(chunk_size=1)])

    assert in_threads(4, read) == [5] * 4


def test_the_time_zone_is_followed_from_server_to_server(
    alias_of: AliasOf, alias: str, bouncer: tuple[str, str]
) -> None:
    options = connections.settings[alias]["OPTIONS"]
    tokyo = alias_of(like=alias, TIME_ZONE="Asia/Tokyo", OPTIONS=options)

    def zones() -> set[str]:
        seen = set()
        for using, zone in ((alias, "UTC"), (tokyo, "Asia/Tokyo")) * 5:
            with unit_of_work():
                seen.add(ask("SHOW TimeZone", using=using) == zone)
        return seen

    assert set().union(*in_threads(2, zones)) == {True}


def test_a_deadline_reaches_the_query_through_it(alias: str, server: Any) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded), unit_of_work(deadline=0.3):
        ask("SELECT pg_sleep(5)::text", using=alias)
    assert time.monotonic() - began < 1
    await_that(lambda: not server.is_running("pg_sleep"))
    assert in_threads(4, lambda: ask("SELECT 1", using=alias)) == [1] * 4


def test_server_side_cursors_are_off_unless_they_are_set(alias_of: AliasOf) -> None:
    pool = {"behind": "rds-proxy"}
    alias = alias_of(OPTIONS={"pool": pool})
    assert connections[alias].settings_dict["DISABLE_SERVER_SIDE_CURSORS"] is True
    chosen = alias_of(OPTIONS={"pool": pool}, DISABLE_SERVER_SIDE_CURSORS=False)
    assert connections[chosen].settings_dict["DISABLE_SERVER_SIDE_CURSORS"] is False
    assert not connections["default"].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
