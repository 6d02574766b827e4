"""Task runners and consumers. A star: each file imports ``units``, and none another one."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module


def install_loaded() -> None:
    """Install the integrations with those runners that this process has loaded.

    A file here is named for the package of its runner. One that needs hooks has
    ``install()``, which is idempotent and cheap. A process that does not use a runner
    does not import it because of us.
    """
    for module in pkgutil.iter_modules(__path__):
        if module.name in sys.modules:
            integration = import_module(f"{__name__}.{module.name}")
            if hasattr(integration, "install"):
                integration.install()
