"""Parse lists of web origins, as browsers send them in the Origin header. PURE."""

from __future__ import annotations

import re

from yarl import URL

from manager_agent.comma_list import read_list

ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]_-]+")


def read_origins(text: str) -> tuple[str, ...]:
    """Parse origins separated by commas. Raises ValueError with the number of the invalid entry and nothing of its
    content."""
    return read_list(text, _origin)


def _origin(text: str) -> str:
    if text == "*":
        raise ValueError("is '*': list each origin, or pages of any origin could call the API")
    if not _is_origin(text):
        raise ValueError("should be an origin as browsers write it, such as https://app.example.com")
    return text


def _is_origin(text: str) -> bool:
    try:
        return ORIGIN.fullmatch(text) is not None and str(URL(text).origin()) == text
    except ValueError:
        return False
