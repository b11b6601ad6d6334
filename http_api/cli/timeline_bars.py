"""A timeline drawn: its steps, and a bar for each attempt to get a service, in proportion to time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from http_api.cli import output
from http_api.models.timeline import AttemptView, TimelineView

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

HEAD = ("service", "attempt", "state")
PHASES = ("invited", "accepted", "joined", "ready")
BLOCKS, LETTERS = " ░▒▓█✗", " .-=#x"
"""How a cell of a bar looks: before anything, in each phase, and where the attempt came to nothing."""
STYLES = ("", "yellow", "yellow", "cyan", "green", "bold red")
BROKEN = 5
BAR_LEAST, BAR_MIN, BAR_MAX = 12, 20, 80
"""Cells. Where no bar of BAR_MIN fits between the others, what is remarked has a line of its own."""
GAP = 2
"""Between two columns."""
AWAITED = {"accept": "to accept", "join": "to join", "ready": "to be ready"}


@dataclass(frozen=True, slots=True)
class Scale:
    """The time that a bar shows, and in how many cells."""

    begin: datetime
    end: datetime
    cells: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    def at(self, cell: int) -> datetime:
        """When a cell begins."""
        return self.begin + (self.end - self.begin) * cell / self.cells


def scale_of(timeline: TimelineView, now: datetime, cells: int) -> Scale:
    """From the request until nobody is awaited any more: what happens to a session that is ready stretches nothing,
    unless a service is lost. PURE."""
    ends = [timeline.ready_at or timeline.ended_at or timeline.created_at]
    for attempt in timeline.attempts:
        ends += [*attempt.timeline.values(), attempt.until or timeline.created_at]
    is_open = timeline.ended_at is None and any(attempt.late for attempt in timeline.attempts)
    last = max([*map(datetime.fromisoformat, ends), *([now] if is_open else [])])
    begin = datetime.fromisoformat(timeline.created_at)
    return Scale(begin, max(last, begin + timedelta(milliseconds=1)), cells)


def bar(attempt: AttemptView, scale: Scale) -> list[int]:
    """For each cell what it shows: 0 nothing, else the number of the phase that is reached by its end, from 1; BROKEN
    where the attempt came to nothing. PURE."""
    at = {name: datetime.fromisoformat(instant) for name, instant in attempt.timeline.items()}
    ends = [at[name] for name in ("left", "failed") if name in at]
    if attempt.until is not None:
        ends.append(datetime.fromisoformat(attempt.until))
    over = min(ends, default=None)
    cells = []
    for cell in range(scale.cells):
        begin, end = scale.at(cell), scale.at(cell + 1)
        phase = max((n for n, name in enumerate(PHASES, start=1) if name in at and at[name] <= end), default=0)
        if phase and over is not None and over <= end:
            phase = BROKEN if over > begin or cell == 0 else 0
        cells.append(phase)
    return cells


def remark(attempt: AttemptView, now: datetime) -> str:
    """Why it came to nothing, what made it ready, or what is awaited of it until when. PURE."""
    said = [str(attempt.reason)] if attempt.reason is not None else []
    if attempt.ready_by is not None:
        said.append(f"ready by {attempt.ready_by}")
    if attempt.late is not None:
        said.append(f"awaited {AWAITED[attempt.late.awaited]}{_until(attempt.late.due, now)}")
        if attempt.late.retry_at is not None:
            said.append(f"asked again in {output.in_words(max(0.0, _left(attempt.late.retry_at, now)))}")
    if attempt.until is not None:
        said.append("replaced")
    return ", ".join(said)


def _until(due: str | None, now: datetime) -> str:
    if due is None:
        return ""
    left = _left(due, now)
    return f" within {output.in_words(left)}" if left > 0 else f", late by {output.in_words(-left)}"


def _left(instant: str, now: datetime) -> float:
    return (datetime.fromisoformat(instant) - now).total_seconds()


def took(seconds: float) -> str:
    """`804 ms`, `12.3 s`, `5 min`."""
    if seconds < 10:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else output.in_words(seconds)


def layout(width: int, columns: Sequence[int], remarks: int) -> tuple[int, bool]:
    """How many cells a bar has on a terminal of this width, and whether the remarks stand beside it. Given how wide the
    columns before the bars are, and the longest remark. PURE."""
    room = width - sum(columns) - GAP * len(columns)
    beside = room - GAP - remarks
    if beside >= BAR_MIN:
        return min(beside, BAR_MAX), True
    return max(BAR_LEAST, min(room, BAR_MAX)), False


@dataclass(slots=True)
class Drawing:
    """Rich draws it as often as it is asked to: what is awaited grows older meanwhile."""

    timeline: TimelineView
    _begun: float = field(default_factory=time.monotonic)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.text import Text

        now, attempts = self._now(), self.timeline.attempts
        names = [[one.service_id, str(one.attempt or "-"), str(one.state)] for one in attempts]
        remarks = [remark(one, now) for one in attempts]
        widths = [max(map(cell_len, column)) for column in zip(HEAD, *names, strict=True)]
        cells, is_beside = layout(options.max_width, widths, max(map(cell_len, remarks), default=0))
        scale = scale_of(self.timeline, now, cells)
        yield self._steps(scale)
        yield ""
        marks = LETTERS if options.ascii_only else BLOCKS
        bars = [_drawn(bar(one, scale), marks) for one in attempts]
        head = [*HEAD, f"0 to {took(scale.seconds)}"]
        if is_beside:
            rows = [[*name, *drawn] for name, drawn in zip(names, zip(bars, remarks, strict=True), strict=True)]
            yield _table([*head, ""], rows, [*widths, cells])
            return
        widths[0] = max(1, min(widths[0], options.max_width - sum(widths[1:]) - GAP * len(widths) - cells))
        yield _table(head, [], [*widths, cells])
        for name, drawn, said in zip(names, bars, remarks, strict=True):
            yield _table(head, [[*name, drawn]], [*widths, cells], show_head=False)
            if said:
                yield Text(f"  {said}")

    def _now(self) -> datetime:
        """The server's clock."""
        return datetime.fromisoformat(self.timeline.now) + timedelta(seconds=time.monotonic() - self._begun)

    def _steps(self, scale: Scale) -> RenderableType:
        from rich.columns import Columns
        from rich.text import Text

        since = [(datetime.fromisoformat(step.at) - scale.begin).total_seconds() for step in self.timeline.steps]
        steps = zip(self.timeline.steps, since, strict=True)
        return Columns([Text(f"{step.name} {took(at)}") for step, at in steps], padding=(0, 2))


def _table(
    head: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[int], *, show_head: bool = True
) -> Table:
    """The first columns are as wide as is said: no bar is broken over two lines."""
    table = output.table(*head, rows=rows, right=("attempt",))
    table.show_header = show_head
    for column, width in zip(table.columns, widths, strict=False):
        column.width = width
    return table


def _drawn(cells: list[int], marks: str) -> Text:
    from rich.text import Text

    drawn = Text()
    for cell in cells:
        drawn.append(marks[cell], STYLES[cell])
    return drawn
