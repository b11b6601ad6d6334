"""Conditional requests (RFC 9110): which version of a session an answer shows, and which one its caller has. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile('(?:W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*+)"')
# Nothing in here is tried in two ways (`*+`): a header made for it would take seconds.
_LIST = re.compile(rf"[ \t,]*+(?:{_TAG.pattern}[ \t]*+(?:\Z|,[ \t,]*+))*+")


def entity_tag(revision: int) -> str:
    """The `ETag` of a session. Weak, as two answers that show the same revision need not be the same to the byte: each
    one to its owner carries a token made for it."""
    return f'W/"{revision}"'


@dataclass(frozen=True, slots=True)
class KnownTags:
    """What a caller says he has."""

    tags: frozenset[str] = frozenset()
    any: bool = False
    """Whatever there is."""

    def match(self, revision: int) -> bool:
        """By weak comparison: whether a tag is weak or strong makes no difference."""
        return self.any or str(revision) in self.tags


def known_tags(headers: Iterable[str]) -> KnownTags | None:
    """What the `If-None-Match` headers of one request name; None when they name nothing, or can't be read."""
    text = ", ".join(headers)
    if text.strip(" \t") == "*":
        return KnownTags(any=True)
    if not _LIST.fullmatch(text):
        return None
    tags = frozenset(_TAG.findall(text))
    return KnownTags(tags) if tags else None
