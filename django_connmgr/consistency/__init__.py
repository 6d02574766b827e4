"""What a read may miss, and what a unit of work remembers so that it reads its own writes."""

from .modes import consistency, read_only, using_primary, using_replica
from .tokens import current_token, require_token
from .writes import marks_write

__all__ = [
    "consistency",
    "current_token",
    "marks_write",
    "read_only",
    "require_token",
    "using_primary",
    "using_replica",
]
