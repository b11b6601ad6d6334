"""Origins: where a page in a browser is from, as the browser writes it. PURE."""

from __future__ import annotations

import re

from yarl import URL

ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]_-]+")


def read_origins(text: str) -> tuple[str, ...]:
    """The origins in a list with commas. Raises ValueError, which says which one is wrong and shows nothing of it."""
    origins = tuple(part.strip() for part in text.split(","))
    for number, origin in enumerate(origins, start=1):
        if origin == "*":
            raise ValueError(f"entry {number} is '*': name each origin, as everybody's pages could call otherwise")
        if not _is_origin(origin):
            raise ValueError(
                f"entry {number} should be an origin as browsers write it, such as https://app.example.com"
            )
    return origins


def _is_origin(text: str) -> bool:
    try:
        return ORIGIN.fullmatch(text) is not None and str(URL(text).origin()) == text
    except ValueError:
        return False
