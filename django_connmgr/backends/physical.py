"""A physical connection, with what the pool must remember beside it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Physical:
    """What a slot holds: the real driver connection, and the state it was opened with."""

    raw: Any
    #: Attributes that opening it left on the wrapper: every wrapper that leases it gets them.
    wrapper_state: Mapping[str, Any]
    #: Attributes of the driver's connection right after it was opened, by name.
    baseline: Mapping[str, Any]
    #: What Django set in its session when it was opened, by name of the setting.
    session: Mapping[str, Any]
    #: The borrower left something in the session of the server.
    has_session_state: bool = False
    #: Code outside Django's and the engine's own did so when it was opened.
    is_customised: bool = False
    #: Made anew whenever a wrapper takes on what is true of the connection.
    adoption: object = None
    #: By ``time.monotonic()``.
    opened_at: float = field(default_factory=time.monotonic)
