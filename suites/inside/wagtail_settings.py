"""Wagtail's own settings, with the engine swapped."""

from wagtail.test.settings import *  # noqa: F403 - the suite's, from its source distribution

from . import swap, unittest_results

swap.install()
unittest_results.install()
