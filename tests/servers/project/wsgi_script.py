"""What mod_wsgi loads, as a file that is in no package."""

from __future__ import annotations

from tests.servers.project.wsgi import application

__all__ = ["application"]
