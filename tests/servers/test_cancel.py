"""Requests that are cancelled from outside, at any moment."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from testproject.cluster import Cluster

from .launch import ROOT, Account, project_environment


def test_requests_cancelled_at_any_moment_lose_nothing(cluster: Cluster) -> None:
    with contextlib.closing(Account(cluster, 4)) as account:
        done = subprocess.run(
            [sys.executable, "-m", "tests.servers.project.cancel"],
            env=project_environment(account, {"pool": {"max_size": 4}}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert (done.returncode, account.count()) == (0, 0), done.stderr
        assert "too many connections for role" not in account.log()
