"""The site: Sphinx, with the theme furo, from these Markdown files."""

from __future__ import annotations

import re
from typing import Any

import django
from django.conf import settings

import django_connmgr

settings.configure(INSTALLED_APPS=["django_connmgr"])
django.setup()

project = "django-connmgr"
author = "The django-connmgr authors"
version = release = django_connmgr.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autoclass_content = "class"
html_theme = "furo"
html_title = f"django-connmgr {version}"
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "source_repository": "https://github.com/django-connmgr/django-connmgr/",
    "source_branch": "main",
    "source_directory": "docs/",
}

_OUTSIDE = re.compile(r"\]\(\.\./(?=[^)]*\))")


def _link_outside(app: Any, name: str, source: list[str]) -> None:  # noqa: ARG001 - an event's
    """Files beside ``docs/`` are no pages: their links lead to the repository."""
    if name == "changelog":
        return
    source[0] = _OUTSIDE.sub(f"]({html_theme_options['source_repository']}blob/main/", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", _link_outside)
