"""Origins: where a page in a browser is from, as the browser writes it. PURE."""

from __future__ import annotations

import re

from yarl import URL

from manager_agent.comma_list import read_list

ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]_-]+")


def read_origins(text: str) -> tuple[str, ...]:
    """The origins in a list with commas. Raises ValueError, which says which one is wrong and shows nothing of it."""
    return read_list(text, _origin)


def _origin(text: str) -> str:
    if text == "*":
        raise ValueError("is '*': name each origin, since any page could call otherwise")
    if not _is_origin(text):
        raise ValueError("should be an origin as browsers write it, such as https://app.example.com")
    return text


def _is_origin(text: str) -> bool:
    try:
        return ORIGIN.fullmatch(text) is not None and str(URL(text).origin()) == text
    except ValueError:
        return False
