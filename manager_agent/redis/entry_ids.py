"""Ids of entries of the changelog. PURE."""

from __future__ import annotations


def order_of(entry_id: str) -> tuple[int, int]:
    """Their order: milliseconds, then a number (Redis' XADD). Raises ValueError."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
