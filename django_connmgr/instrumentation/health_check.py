"""A check for django-health-check 4 and later: add it to the ``checks`` of its view."""

from dataclasses import dataclass

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from ..health import check_pools


@dataclass
class ConnectionPools(HealthCheck):  # type: ignore[misc]
    """Fails if a pool of this process is cold, exhausted, down, or out. It takes no connection."""

    async def run(self) -> None:
        wrong = [one for one in check_pools() if not one.is_ready]
        if wrong:
            raise ServiceUnavailable("; ".join(f"{one.pool}: {one.text}" for one in wrong))
