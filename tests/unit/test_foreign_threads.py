from __future__ import annotations

import pytest

from django_connmgr._pool.owner import Owner


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_thread_that_python_did_not_start_is_dead_when_it_cannot_answer(
    error: type[Exception],
) -> None:
    """So do greenlets and threads of C code after their end: 3.13 raises, 3.11 asserts."""

    class Gone:
        def is_alive(self) -> bool:
            raise error("thread is not alive")

    owner = Owner()
    owner._thread = Gone  # type: ignore[assignment]
    assert not owner.is_alive()
