"""The subcommands of ``manage.py connmgr``, one module each. Its docstring is the help.

``add_arguments(parser)`` adds its own, and ``run(options)`` returns what is to be printed.
"""

from . import status

SUBCOMMANDS = {"status": status}
