"""Bounds a dict. PURE."""

from __future__ import annotations

from typing import Any


def drop_oldest(kept: dict[Any, Any], most: int) -> None:
    """Forget what was put there first, beyond so many."""
    while len(kept) > most:
        del kept[next(iter(kept))]
