from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.servers.project.settings")
application = get_wsgi_application()

if os.environ.get("PROJECT_QUERIES_AT_IMPORT"):
    from . import views

    views.ask()  # As an application does that fills a cache at start-up.
