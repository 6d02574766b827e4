"""``docs/options.md`` documents every option, and no other, with its default."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from django_connmgr.conf import _CONVERTERS, PoolOptions

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "options.md").read_text()
#: Option by option: the line with type and default, and the rest.
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
DEFAULTS = {field.name: field.default for field in dataclasses.fields(PoolOptions)}


def documented_default(section: str) -> Any:
    found = re.match(r"Type: .*? Default: `(.*?)`", section)
    assert found is not None, section
    return ast.literal_eval(found[1])


def test_the_settings_take_what_the_options_are() -> None:
    assert set(_CONVERTERS) == set(DEFAULTS)


def test_every_option_is_documented_once_and_no_other_is() -> None:
    headings = re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE)
    assert sorted(headings) == sorted(_CONVERTERS)


@pytest.mark.parametrize("option", sorted(SECTIONS))
def test_the_default_is_the_one_that_is_documented(option: str) -> None:
    assert documented_default(SECTIONS[option]) == DEFAULTS[option]


@pytest.mark.parametrize("option", sorted(SECTIONS))
def test_what_an_option_does_follows_its_type_and_default(option: str) -> None:
    first, *_, effect = SECTIONS[option].strip().split("\n\n")
    assert first.startswith("Type: ")
    assert effect
