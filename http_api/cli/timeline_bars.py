"""Draw a timeline: the session's steps, and a bar to scale for each attempt to get a service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from http_api.cli import output
from manager_agent.characters import visible
from session_manager_client.models import AttemptInfo, TimelineInfo

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

HEAD = ("service", "attempt", "state")
PHASES = ("invited", "accepted", "joined", "ready")
BLOCKS, ASCII = " ░▒▓█✗", " .-=#x"
"""Characters for a cell of a bar: before the invite, in each phase, and where the attempt failed."""
STYLES = ("", "yellow", "yellow", "cyan", "green", "bold red")
BROKEN = 5
BAR_LEAST, BAR_MIN, BAR_MAX = 12, 20, 80
"""Cells. If no bar of BAR_MIN fits beside the remarks, each remark gets its own line."""
GAP = 2
"""Cells between two columns."""
AWAITED = {"accept": "to accept", "join": "to join", "ready": "to be ready"}


@dataclass(frozen=True, slots=True)
class Scale:
    """The time span that a bar shows, and its number of cells."""

    begin: datetime
    end: datetime
    cells: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    def at(self, cell: int) -> datetime:
        """The instant at which a cell begins."""
        return self.begin + (self.end - self.begin) * cell / self.cells


def scale_of(timeline: TimelineInfo, now: datetime, cells: int) -> Scale:
    """From the request until no service is awaited. Time spent ready does not stretch the scale, unless a service is
    lost. PURE."""
    ends = [timeline.ready_at or timeline.ended_at or timeline.created_at]
    for attempt in timeline.attempts:
        ends += [*attempt.timeline.values(), attempt.until or timeline.created_at]
    is_open = timeline.ended_at is None and any(attempt.late for attempt in timeline.attempts)
    last = max([*map(datetime.fromisoformat, ends), *([now] if is_open else [])])
    begin = datetime.fromisoformat(timeline.created_at)
    return Scale(begin, max(last, begin + timedelta(milliseconds=1)), cells)


def bar(attempt: AttemptInfo, scale: Scale) -> list[int]:
    """The value of each cell: 0 for nothing, the number (from 1) of the phase reached by its end, or BROKEN where the
    attempt failed. PURE."""
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


def remark(attempt: AttemptInfo, now: datetime) -> str:
    """Why the attempt failed, what made it ready, or what it still has to do and by when. PURE."""
    notes = [str(attempt.reason)] if attempt.reason is not None else []
    if attempt.ready_by is not None:
        notes.append(f"ready by {attempt.ready_by}")
    if attempt.late is not None:
        notes.append(f"expected {AWAITED[attempt.late.awaited]}{_until(attempt.late.due, now)}")
        if attempt.late.retry_at is not None:
            notes.append(f"invited again in {output.format_duration(max(0.0, _left(attempt.late.retry_at, now)))}")
    if attempt.until is not None:
        notes.append("replaced")
    return ", ".join(notes)


def _until(due: str | None, now: datetime) -> str:
    if due is None:
        return ""
    left = _left(due, now)
    return f" within {output.format_duration(left)}" if left > 0 else f", late by {output.format_duration(-left)}"


def _left(instant: str, now: datetime) -> float:
    return (datetime.fromisoformat(instant) - now).total_seconds()


def format_elapsed(seconds: float) -> str:
    """`804 ms`, `12.3 s`, `5 min`."""
    if seconds < 10:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else output.format_duration(seconds)


def layout(width: int, columns: Sequence[int], remarks: int) -> tuple[int, bool]:
    """The number of cells of a bar, and whether the remarks fit beside the bars.

    `width`: of the terminal; `columns`: widths of the columns before the bars; `remarks`: width of the longest. PURE.
    """
    left = width - sum(columns) - GAP * len(columns)
    beside = left - GAP - remarks
    if beside >= BAR_MIN:
        return min(beside, BAR_MAX), True
    return max(BAR_LEAST, min(left, BAR_MAX)), False


@dataclass(slots=True)
class Drawing:
    """A Rich renderable. Each rendering shows the current waiting times."""

    timeline: TimelineInfo
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
        marks = ASCII if options.ascii_only else BLOCKS
        bars = [_drawn(bar(one, scale), marks) for one in attempts]
        head = [*HEAD, f"0 to {format_elapsed(scale.seconds)}"]
        if is_beside:
            rows = [[*name, *drawn] for name, drawn in zip(names, zip(bars, remarks, strict=True), strict=True)]
            yield _table([*head, ""], rows, [*widths, cells])
            return
        widths[0] = max(1, min(widths[0], options.max_width - sum(widths[1:]) - GAP * len(widths) - cells))
        yield _table(head, [], [*widths, cells])
        for name, drawn, note in zip(names, bars, remarks, strict=True):
            yield _table(head, [[*name, drawn]], [*widths, cells], show_head=False)
            if note:
                yield Text(visible(f"  {note}"))

    def _now(self) -> datetime:
        """The time on the server's clock."""
        return datetime.fromisoformat(self.timeline.now) + timedelta(seconds=time.monotonic() - self._begun)

    def _steps(self, scale: Scale) -> RenderableType:
        from rich.columns import Columns
        from rich.text import Text

        since = [(datetime.fromisoformat(step.at) - scale.begin).total_seconds() for step in self.timeline.steps]
        steps = zip(self.timeline.steps, since, strict=True)
        return Columns([Text(f"{step.name} {format_elapsed(at)}") for step, at in steps], padding=(0, 2))


def _table(
    head: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[int], *, show_head: bool = True
) -> Table:
    """A table with fixed column widths, so that no bar wraps."""
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
