"""Tables that are no higher than there is room on the terminal: what does not fit is counted in the last line."""

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
    """A table of these rows, the first of which matter most."""

    rows: Sequence[T]
    table: Callable[[Sequence[T]], RenderableType]

    def lines(self, console: Console, options: ConsoleOptions, height: float) -> list[list[Segment]]:
        """As many rows as there is room for: one may take several lines. None where not even the head has any."""
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
