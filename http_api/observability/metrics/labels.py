"""Bound the number of label values that come from outside, to limit the number of series. PURE."""

from __future__ import annotations

VALUES_MAX = 50
OTHER = "other"
"""Shown for every value beyond the limit."""
NONE = "none"
"""Shown for the empty value."""


class Bounded:
    """The values of one label: the first `most` are shown, because each value creates a series that is never
    removed."""

    def __init__(self, most: int = VALUES_MAX) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """The label value to show for this value."""
        if not value:
            return NONE
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
