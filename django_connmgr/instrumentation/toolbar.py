"""For django-debug-toolbar: which connections a request has held, for how long, and what for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from debug_toolbar.panels import Panel
from django.db import connections


@dataclass
class Lease:
    """One lease, as the queries of this request saw it. Times are of the pool's clock."""

    slot: Any
    pool: str
    since: float
    queries: int = 0
    seconds: float = 0.0

    def held(self, now: float) -> float:
        """Until it was released, which the slot remembers; or until now."""
        released_at: float = self.slot.idle_since
        return (released_at if released_at > self.since else now) - self.since


class ConnectionsPanel(Panel):  # type: ignore[misc]
    """Looks at the lease whenever a query runs, as the toolbar's own panel looks at queries.

    So a lease in which no query ran is not seen, and nothing is done differently because the panel
    is there. Only connections of the thread that serves the request are looked at.
    """

    title = "Connections"
    template = "django_connmgr/toolbar_panel.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._leases: dict[tuple[int, float], Lease] = {}
        self._began = 0.0
        self._watched: list[Any] = []

    @property
    def nav_subtitle(self) -> str:
        leases = self.get_stats().get("leases", [])
        held = sum(lease["held_ms"] for lease in leases)
        return f"{len(leases)} leased, {held:.1f} ms" if leases else "none leased"

    def enable_instrumentation(self) -> None:
        self._began = time.monotonic()
        if not self._watched:
            self._watched = [one for one in connections.all() if hasattr(one, "borrower")]
            for connection in self._watched:
                connection.execute_wrappers.append(self._watch)

    def disable_instrumentation(self) -> None:
        watched, self._watched = self._watched, []
        for connection in watched:
            if self._watch in connection.execute_wrappers:
                connection.execute_wrappers.remove(self._watch)

    def _watch(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        lease = self._find_lease(context["connection"].borrower)
        began = time.monotonic()
        try:
            return execute(sql, params, many, context)
        finally:
            if lease is not None:
                lease.queries += 1
                lease.seconds += time.monotonic() - began

    def _find_lease(self, borrower: Any) -> Lease | None:
        slot = None if borrower.lease is None else borrower.lease.slot
        if slot is None:
            return None
        made = Lease(slot, borrower.pool.name, slot.leased_at)
        return self._leases.setdefault((slot.number, slot.leased_at), made)

    def generate_stats(self, request: Any, response: Any) -> None:  # noqa: ARG002
        now = time.monotonic()
        self.record_stats({"leases": [self._describe(one, now) for one in self._leases.values()]})

    def _describe(self, lease: Lease, now: float) -> dict[str, Any]:
        held = max(lease.held(now), lease.seconds)
        return {
            "pool": lease.pool,
            "backend": lease.slot.backend_pid,
            "held_ms": held * 1000,
            "query_ms": lease.seconds * 1000,
            "share": round(100 * lease.seconds / held) if held else 0,
            "queries": lease.queries,
            "taken_ms": max(lease.since - self._began, 0.0) * 1000,
        }
