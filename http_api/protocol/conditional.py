"""Conditional requests (RFC 9110): the entity tag of a session's revision, and the tags that a client has. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r'(?:W/)?"([^\x00-\x20"\x7f]*+)"')
# All quantifiers are possessive (`*+`): with backtracking, a crafted header would take seconds.
_LIST = re.compile(rf"[ \t,]*+(?:{_TAG.pattern}[ \t]*+(?:\Z|,[ \t,]*+))*+")


def entity_tag(revision: int) -> str:
    """The `ETag` of a session. Weak, because responses with the same revision need not be identical byte for byte: each
    response to the owner contains a new token."""
    return f'W/"{revision}"'


@dataclass(frozen=True, slots=True)
class KnownTags:
    """The entity tags that a client has."""

    tags: frozenset[str] = frozenset()
    any: bool = False
    """`*`: any current representation."""

    def match(self, revision: int) -> bool:
        """Weak comparison: weak and strong tags are equal."""
        return self.any or str(revision) in self.tags


def known_tags(headers: Iterable[str]) -> KnownTags | None:
    """The tags in the `If-None-Match` headers of one request; None when there are none, or the headers are
    malformed."""
    if not (text := ", ".join(headers)):
        return None
    if text.strip(" \t") == "*":
        return KnownTags(any=True)
    if not _LIST.fullmatch(text):
        return None
    tags = frozenset(_TAG.findall(text))
    return KnownTags(tags) if tags else None
