"""The `Prefer` header (RFC 7240): how long a client is willing to wait. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

WAIT_MAX = 60
"""Seconds. A longer wait is reduced to this, and Preference-Applied says so."""

# All quantifiers are possessive (`*+`, `?+`): with backtracking, a crafted header would take seconds.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
_SPACE = r"[ \t]*+"
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z))++', re.DOTALL)
"""A list member between commas. An unterminated quoted string extends to the end of the header."""
_PREFERENCE = re.compile(rf"({_TOKEN})(?:{_SPACE}={_SPACE}(?:({_TOKEN})|{_QUOTED}))?+{_SPACE}(?:;.*)?", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Preferences:
    wait: int | None = None
    """Seconds, 0 to WAIT_MAX; None when the client sets no limit."""
    respond_async: bool = False

    @property
    def max_wait(self) -> float | None:
        """Seconds to wait before responding with 202; None: until the session is ready or over."""
        if self.wait is not None:
            return self.wait
        return 0 if self.respond_async else None

    def applied(self, *, asynchronously: bool) -> dict[str, str]:
        """The Preference-Applied header, if any preference was applied. `asynchronously`: whether the response is a 202
        without a result."""
        named = ["respond-async"] if self.respond_async and asynchronously else []
        if self.wait is not None:
            named.append(f"wait={self.wait}")
        return {"Preference-Applied": ", ".join(named)} if named else {}


NO_PREFERENCE = Preferences()


def preferences(headers: Iterable[str]) -> Preferences:
    """The preferences in the `Prefer` headers of one request. The first of a repeated preference counts; unknown and
    malformed ones are ignored, as the RFC requires."""
    found: dict[str, str] = {}
    for header in headers:
        for member in _MEMBER.findall(header):
            match = _PREFERENCE.fullmatch(member.strip(" \t"))
            if match:
                found.setdefault(match[1].lower(), match[2] or _QUOTED_PAIR.sub(r"\1", match[3] or ""))
    if not found:
        return NO_PREFERENCE
    return Preferences(wait=_seconds(found.get("wait", "")), respond_async=found.get("respond-async") == "")


def _seconds(text: str) -> int | None:
    if not _DIGITS.fullmatch(text):
        return None
    significant = text.lstrip("0")
    return WAIT_MAX if len(significant) > len(str(WAIT_MAX)) else min(int(significant or "0"), WAIT_MAX)
