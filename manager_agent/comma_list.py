"""Parse comma-separated lists. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def read_list(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """Apply `read` to each entry of `text`, stripped of spaces. An empty text has one empty entry.

    Raises ValueError when `read` does. The message starts with the entry's number and contains the entry only if the
    message of `read` does: it may be a secret.
    """
    found = []
    for number, entry in enumerate(text.split(","), start=1):
        try:
            found.append(read(entry.strip()))
        except ValueError as wrong:
            raise ValueError(f"entry {number} {wrong}") from None
    return tuple(found)
