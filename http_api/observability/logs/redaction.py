"""Make log events safe to write: remove tokens and secrets, and reduce values to plain JSON of bounded size. PURE."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from itertools import islice
from typing import Any

from http_api.access.api_keys import PREFIX

JWT_BEGINNING = "eyJ"
JWT = re.compile(rf"{JWT_BEGINNING}[A-Za-z0-9_-]{{5,1024}}\.[A-Za-z0-9_-]{{5,}}\.[A-Za-z0-9_-]*")
"""The header's length is bounded: otherwise a long text of repeated `eyJ` would take quadratic time."""
API_KEY = re.compile(rf"(?<![A-Za-z0-9_]){PREFIX}[A-Za-z0-9_-]{{20,}}")
"""Also matches a truncated key."""
REDACTED = "[redacted]"
DEPTH_MAX = 8
"""Values nested deeper are written as text."""
TEXT_MAX = 16 * 1024
"""The maximum length of a text. A longer one is reduced to its beginning and end, where a traceback is most useful."""
MARGIN = 4 * 1024
"""Characters beyond the cut that are searched too, so that a secret across the cut is recognized."""
ITEMS_MAX = 256
"""The maximum number of items written of a list or object."""
INT_MAX = 2**63 - 1
"""Larger integers are written as text: parsers with 64-bit integers would change them."""

ENCODING = ("utf-8", "backslashreplace")
EventDict = MutableMapping[str, Any]
Processor = Callable[[Any, str, EventDict], EventDict]


def redactor(secrets: Iterable[str]) -> Processor:
    """A structlog processor that replaces every JWT, API key and one of `secrets` anywhere in an event, and reduces all
    values to plain JSON."""
    known = sorted(filter(None, secrets), key=len, reverse=True)
    # A secret may be an ordinary word (dev mode's is "secret"), so only whole words count.
    words = (rf"(?<![A-Za-z0-9_]){re.escape(secret)}(?![A-Za-z0-9_])" for secret in known)
    hidden = re.compile("|".join((JWT.pattern, API_KEY.pattern, *words)))
    marks = (JWT_BEGINNING, PREFIX, *known)

    def is_safe(event: EventDict) -> bool:
        """Whether the event is plain already, and has nothing to hide: so are nearly all, which would take ten times as
        long value by value. No match of `hidden` lacks one of `marks`."""
        texts = []
        for value in event.values():
            kind = type(value)
            if kind is str:
                texts.append(value)
            elif kind is int:
                if not -INT_MAX <= value <= INT_MAX:
                    return False
            elif kind is float:
                if not math.isfinite(value):
                    return False
            elif kind is not bool and value is not None:
                return False
        text = "\n".join(texts)
        for mark in marks:
            if mark in text:
                return False
        return len(text) <= TEXT_MAX and text.isascii()

    def text(value: object) -> str:
        return _without(hidden, value if isinstance(value, str) else _shown(value)).encode(*ENCODING).decode()

    def plain(value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if -INT_MAX <= value <= INT_MAX else text(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return text(value)
        if depth < DEPTH_MAX and isinstance(value, Mapping):
            return {text(key): plain(item, depth + 1) for key, item in islice(value.items(), ITEMS_MAX)}
        if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in islice(value, ITEMS_MAX)]
        return text(_shown(value, repr))

    def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return event if is_safe(event) else {key: plain(value, 0) for key, value in event.items()}

    return redact


def _without(hidden: re.Pattern[str], text: str) -> str:
    """The text with matches of `hidden` replaced, truncated if too long. A long text is first reduced to little more
    than the final length, because this runs on the event loop."""
    if len(text) <= TEXT_MAX:
        return hidden.sub(REDACTED, text)
    half = TEXT_MAX // 2
    begin, end = (hidden.sub(REDACTED, part) for part in (text[: half + MARGIN], text[-half - MARGIN :]))
    return f"{begin[:half]} [... {len(text) - 2 * half} characters ...] {end[-half:]}"


def _shown(value: object, how: Callable[[object], str] = str) -> str:
    try:
        return how(value)
    except Exception as error:
        return f"<a {type(value).__name__} that can't be shown: {type(error).__name__}>"
