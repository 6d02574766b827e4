"""What a pool may do, how much of it, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one pool. Times are in seconds; the docs say what each one is for."""

    max_size: int | None = 5
    min_size: int = 0
    timeout: float = 5.0
    fair_after: float = 0.02
    max_connecting: int = 10
    max_waiting: int = 0
    max_idle: float = 300.0
    max_lifetime: float = 3600.0
    keepalive: float = 0.0
    reap_interval: float = 60.0
    check_after: float = 30.0
    reclaim: bool = True
    leak_threshold: float = 0.0
