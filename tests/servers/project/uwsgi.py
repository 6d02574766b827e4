"""uWSGI as its wheel has it: a module that cannot be run with ``-m``."""

from __future__ import annotations

import sys

import pyuwsgi

if __name__ == "__main__":
    pyuwsgi.run(sys.argv[1:])
