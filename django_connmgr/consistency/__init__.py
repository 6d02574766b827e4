"""What a read may miss, and what a unit of work remembers so that it reads its own writes."""

from .modes import consistency, read_only, using_primary, using_replica
from .writes import marks_write

__all__ = ["consistency", "marks_write", "read_only", "using_primary", "using_replica"]
