"""Fixtures for tests on a primary and its streaming standbys."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testproject.cluster import ServerMissing
from testproject.replication import Replication, running_replication


@pytest.fixture(scope="session")
def replication() -> Iterator[Replication]:
    """A primary and two standbys. Tests may break them: each test finds them healthy."""
    try:
        with running_replication() as running:
            yield running
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> None:
    """Bring every server back to health before a test that uses them."""
    if "replication" in request.fixturenames:
        request.getfixturevalue("replication").heal()
