"""Task runners and consumers. A star: none imports another one."""

import logging
import pkgutil
import sys
from importlib import import_module

logger = logging.getLogger("django_connmgr.integrations")


def install_loaded() -> None:
    """Install the integrations with those runners that this process has loaded.

    A file here is named for the package of its runner, which is not imported because of us, unless
    it is Django's own. One that needs hooks has ``install()``, which is idempotent and cheap. A
    version of a runner that has nothing to hook where ours looks is reported, and goes without.
    """
    for module in pkgutil.iter_modules(__path__):
        if module.name in {"django_tasks", *sys.modules}:
            try:
                integration = import_module(f"{__name__}.{module.name}")
                if hasattr(integration, "install"):
                    integration.install()
            except (ImportError, AttributeError):
                logger.warning(
                    "This version of %s is not known: decorate its tasks with @unit_of_work().",
                    module.name,
                    exc_info=True,
                )
