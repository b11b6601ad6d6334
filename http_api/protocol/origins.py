"""Parse lists of web origins, as browsers send them in the Origin header. PURE."""

from __future__ import annotations

import re

from yarl import URL

from manager_agent.comma_list import read_list

ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]_-]+")
APP_ORIGIN = re.compile(r"(?!(?:https?|wss?|ftp|file|blob|data):)[a-z][a-z0-9+.-]*://[A-Za-z0-9._~-]+(?::[0-9]{1,5})?")
"""The origin of an app or a browser extension, such as `capacitor://localhost`, which has a scheme of its own."""


def read_origins(text: str) -> tuple[str, ...]:
    """Parse origins separated by commas. Raises ValueError with the number of the invalid entry and nothing of its
    content."""
    return read_list(text, _origin)


def _origin(text: str) -> str:
    if text == "*":
        raise ValueError("is '*': list each origin, or pages of any origin could call the API")
    if not _is_origin(text):
        raise ValueError(
            "should be an origin as browsers write it, such as https://app.example.com or capacitor://localhost"
        )
    return text


def _is_origin(text: str) -> bool:
    if APP_ORIGIN.fullmatch(text):
        return True
    try:
        return ORIGIN.fullmatch(text) is not None and str(URL(text).origin()) == text
    except ValueError:
        return False
