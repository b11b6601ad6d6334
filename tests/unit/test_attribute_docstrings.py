"""The strings below the attributes of a class."""

from __future__ import annotations

import pytest

from http_api.attribute_docstrings import attribute_docstrings

pytestmark = pytest.mark.unit


class Thing:
    """What it is."""

    first: int
    """The first one,
    in two lines."""
    silent: int
    given: int = 2
    """The given one."""


class ThingOfThings(Thing):
    more: int
    """What is more."""


def test_the_strings_below_annotated_attributes_are_found() -> None:
    assert attribute_docstrings(Thing) == {"first": "The first one,\nin two lines.", "given": "The given one."}


def test_a_class_has_only_the_strings_below_its_own_attributes() -> None:
    assert attribute_docstrings(ThingOfThings) == {"more": "What is more."}
