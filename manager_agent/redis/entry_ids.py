"""Ids of entries of the changelog. PURE."""

from __future__ import annotations

Order = tuple[int, int]
"""Milliseconds, then a number (Redis' XADD)."""


def order_of(entry_id: str) -> Order:
    """Raises ValueError."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
