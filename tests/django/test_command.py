"""``manage.py``: ``connmgr status``, and what other commands cost."""

from __future__ import annotations

import io
import json
from dataclasses import fields

import pytest
from django.core.management import CommandError, call_command

from django_connmgr import lease_connection
from django_connmgr._pool.stats import PoolStats
from testproject.cluster import Cluster

from .conftest import PoolOf
from .process import Python
from .server import Log


def status(*arguments: str) -> str:
    out = io.StringIO()
    call_command("connmgr", "status", *arguments, stdout=out)
    return out.getvalue()


def test_status_is_a_table_that_fits_a_terminal(pool_of: PoolOf) -> None:
    for alias in ("default", "second", "file"):
        pool_of(alias, max_size=3)
    lease_connection()
    lines = status().splitlines()
    assert [line.rstrip() for line in lines] == lines
    assert max(map(len, lines)) <= 80
    note, table = lines[:3], lines[3:]
    assert (note[0][:30], note[2]) == ("The pools of this command's ow", "")
    assert [" ".join(line.split()) for line in table] == [
        "pool status size opening idle warm leased maint. waiting timeouts",
        "default open 1 of 3 0 0 0 1 0 0 0",
        "second open 0 of 3 0 0 0 0 0 0 0",
        "file open 0 of 3 0 0 0 0 0 0 0",
    ]


def test_status_as_json_has_every_number(pool_of: PoolOf) -> None:
    pool_of("default", max_size=3)
    lease_connection()
    answer = json.loads(status("--json"))
    assert list(answer) == ["default", "second", "file"]
    assert set(answer["default"]) == {field.name for field in fields(PoolStats)}
    assert (answer["default"]["leased"], answer["default"]["closed"]) == (1, {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nonsense"], "invalid choice: 'nonsense' (choose from"), ([], "{status,replicas}")],
)
def test_a_wrong_subcommand_is_told_the_right_ones(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("connmgr", *arguments)
    assert words in str(caught.value)
    assert "status" in str(caught.value)


def test_status_in_a_process_of_its_own(python: Python) -> None:
    done = python.manage("connmgr", "status", pool="max_size=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[4].split()[:5] == ["default", "open", "0", "of", "7"]


def test_a_check_opens_no_connection_and_starts_no_thread(
    python: Python, talkative_cluster: Cluster
) -> None:
    log = Log(talkative_cluster)
    out = python(
        """
        from django.core.management import call_command
        call_command("check")
        call_command("connmgr", "status")
        print(threading.active_count(), pools["default"].stats().opened)
        """,
        url=talkative_cluster.url,
    )
    assert out.splitlines()[-1] == "1 0"
    assert log.text() == ""


def test_a_command_with_one_query_opens_one_connection(
    python: Python, talkative_cluster: Cluster
) -> None:
    log = Log(talkative_cluster)
    done = python.manage(
        "shell", "--no-imports", "-c",
        "from django.db import connection; connection.cursor().execute('SELECT 1')",
        url=talkative_cluster.url,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    text = log.await_disconnections(1)
    assert text.count("connection authorized") == 1
    assert log.statements()[-1] == "SELECT 1"
    assert "unexpected EOF" not in text
