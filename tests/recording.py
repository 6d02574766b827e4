"""Coverage in the processes that tests start: only in those that ask for it.

Most of them fork, are killed, or time their own exit. Coverage would hang in a child that was
forked while a thread held its lock, and it slows all of them down.
"""

from __future__ import annotations

import os

#: By this variable coverage's ``patch = ["subprocess"]`` has every child process recorded.
_NAME = "COVERAGE_PROCESS_CONFIG"
_config = os.environ.pop(_NAME, None)


def recording() -> dict[str, str]:
    """The environment of a process that is recorded if this one is."""
    return {} if _config is None else {_NAME: _config}
