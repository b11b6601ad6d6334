"""What is logged, made fit to be written: no token, no secret, nothing but plain JSON of bounded size. PURE."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from itertools import islice
from typing import Any

from http_api.access.api_keys import PREFIX

JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,1024}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")
"""Its header is bounded: to look for the dot behind each `eyJ` of a long text of nothing else would take for ever."""
API_KEY = re.compile(rf"(?<![A-Za-z0-9_]){PREFIX}[A-Za-z0-9_-]{{20,}}")
"""Also one that was cut off."""
REDACTED = "[redacted]"
DEPTH_MAX = 8
"""Values nested deeper are written as text."""
TEXT_MAX = 16 * 1024
"""Characters of one text that are written: of a longer one the beginning and the end, where a traceback says most."""
MARGIN = 4 * 1024
"""Characters beyond that which are looked at: a secret that the cut goes through is none any more."""
ITEMS_MAX = 256
"""Entries of one list or object that are written."""
INT_MAX = 2**63 - 1
"""Greater integers are written as text: whoever reads JSON into 64 bits would change them."""

ENCODING = ("utf-8", "backslashreplace")
EventDict = MutableMapping[str, Any]
Processor = Callable[[Any, str, EventDict], EventDict]


def redactor(secrets: Iterable[str]) -> Processor:
    """A processor that replaces every JWT, every API key and every one of `secrets`, wherever in an event they stand,
    and leaves nothing but plain JSON values."""
    known = sorted(filter(None, secrets), key=len, reverse=True)
    # A secret may be an ordinary word (dev mode's is "secret"), so only whole words count.
    words = (rf"(?<![A-Za-z0-9_]){re.escape(secret)}(?![A-Za-z0-9_])" for secret in known)
    hidden = re.compile("|".join((JWT.pattern, API_KEY.pattern, *words)))

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
        return {key: plain(value, 0) for key, value in event.items()}

    return redact


def _without(hidden: re.Pattern[str], text: str) -> str:
    """The text with nothing hidden in it, cut if need be; and cut to little more before it is looked at, as the event
    loop waits for this."""
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
