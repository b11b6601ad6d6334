"""Characters of names and messages that come from outside: named in errors, escaped where people look at them. PURE."""

from __future__ import annotations

import re

BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: they change the order in which the text around them is shown. The marks that
scripts need (LRM, RLM, ALM, ZWNJ, ZWJ) are not among them."""
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which terminals obey, line separators, bidirectional controls and lone surrogates."""
UNSAFE_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""The same in a text of several lines, such as a traceback."""


def position_of(text: str, index: int) -> str:
    """The character at an index, for messages: `U+0000 at position 1`. Positions count from 1."""
    return f"U+{ord(text[index]):04X} at position {index + 1}"


def visible(text: str, unsafe: re.Pattern[str] = UNSAFE) -> str:
    """The text with unsafe characters as `\\uXXXX`, as in JSON. All of them have at most four digits."""
    return unsafe.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
