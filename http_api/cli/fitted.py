"""Tables cut to the height of the terminal: the last line counts the rows that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fitted(Generic[T]):
    """A table whose first rows matter most."""

    rows: Sequence[T]
    table: Callable[[Sequence[T]], RenderableType]

    def lines(self, console: Console, options: ConsoleOptions, height: float) -> list[list[Segment]]:
        """The lines of as many rows as fit; a row may take several lines. Empty if not even the header fits."""
        drawn = self._drawn(console, options, len(self.rows))
        shown = len(self.rows)
        while shown and len(drawn) > height:
            shown = min(shown - 1, int(shown * height / len(drawn)))
            drawn = self._drawn(console, options, shown)
        return drawn if len(drawn) <= height else []

    def _drawn(self, console: Console, options: ConsoleOptions, shown: int) -> list[list[Segment]]:
        from rich.segment import Segment

        lines = console.render_lines(self.table(self.rows[:shown]), options, pad=False)
        left_out = len(self.rows) - shown
        return [*lines, [Segment(f"+{left_out} more")]] if left_out else lines
