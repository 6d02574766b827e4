"""Fixtures for tests of code that reads from replicas. pytest loads them by itself."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from .testing import replicas


@pytest.fixture
def replica_mirror(request: pytest.FixtureRequest) -> Iterator[None]:
    """Aliases of replicas show what the test has written: see ``testing.mirrored()``."""
    request.getfixturevalue("db")  # Of pytest-django.
    with replicas.mirrored():
        yield


@pytest.fixture
def assert_reads_from() -> Callable[[str], AbstractContextManager[None]]:
    """``testing.assert_reads_from()``."""
    return replicas.assert_reads_from


@pytest.fixture
def simulate_down() -> Callable[..., AbstractContextManager[None]]:
    """``testing.simulate_down()``."""
    return replicas.simulate_down


@pytest.fixture
def simulate_lag() -> Callable[..., AbstractContextManager[None]]:
    """``testing.simulate_lag()``."""
    return replicas.simulate_lag
