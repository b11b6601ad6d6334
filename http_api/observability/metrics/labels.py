"""Values of labels that come from outside, few enough for whoever keeps the series. PURE."""

from __future__ import annotations

VALUES_MAX = 50
OTHER = "other"
"""Stands for every value that came too late."""
NONE = "none"
"""Stands for the empty one."""


class Bounded:
    """The values of one label, first come, first served: each value of each label is a series of its own, for ever."""

    def __init__(self, most: int = VALUES_MAX) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """What is shown for this value."""
        if not value:
            return NONE
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
