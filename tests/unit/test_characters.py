"""Characters from outside: named by their code and position, escaped where they could change what is shown."""

from __future__ import annotations

import pytest

from manager_agent.characters import UNSAFE_LINES, position_of, visible
from tests.names import NAMES

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("a\nb\r", "a\\u000ab\\u000d"),
        ("\x9b2J", "\\u009b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        *((name, name) for name in NAMES),
    ],
)
def test_text_is_shown_without_obeying_it(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_text_of_several_lines_keeps_them() -> None:
    assert visible("a\n\tb\x1b", UNSAFE_LINES) == "a\n\tb\\u001b"


def test_a_position_counts_from_one() -> None:
    assert position_of("ab\x00", 2) == "U+0000 at position 3"
