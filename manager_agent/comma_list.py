"""Lists in text, their entries separated by commas. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def read_list(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """What `read` makes of each entry of `text`, without the spaces around it. An empty text has one empty entry.

    Raises ValueError when `read` does. The message begins with the number of the entry, and shows nothing of it that
    `read` does not show: it may hold a secret.
    """
    found = []
    for number, entry in enumerate(text.split(","), start=1):
        try:
            found.append(read(entry.strip()))
        except ValueError as wrong:
            raise ValueError(f"entry {number} {wrong}") from None
    return tuple(found)
