"""What the command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from manager_agent.characters import UNSAFE_LINES, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH = 200
"""Columns of a table when stdout is no terminal: wide enough that a program reading it sees no wrapped words."""


def is_on_terminal() -> bool:
    """Whether stdout is a terminal. Rich's own check also honors FORCE_COLOR, which only means colors."""
    return sys.stdout.isatty()


def out() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if is_on_terminal() else WIDTH)


def err() -> Console:
    from rich.console import Console

    return Console(highlight=False, stderr=True)


def print_json(value: Any) -> None:
    """Print one document on its own line and flush: a program may be reading line by line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_error(message: str) -> None:
    err().print(f"session-manager: {visible(message, UNSAFE_LINES)}", style="red", markup=False, soft_wrap=True)


def table(*columns: str, rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table without borders. `right`: columns to align right. Cells are shown verbatim, never as markup."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(cell) for cell in row))
    return shown


def _cell(cell: object) -> Text:
    from rich.text import Text

    if isinstance(cell, Text):
        return cell
    return Text("-") if cell is None else Text(visible(str(cell)), _style(cell))


def format_duration(seconds: float) -> str:
    """A duration rounded to a unit: `90 s`, `12 min`, `3 h`, `5 days`."""
    for unit, length, until in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if abs(seconds) < until:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


GOOD = frozenset({"ready", "active", "healthy"})
BAD = frozenset({"failed", "lost", "degraded", "suspended", "no_worker", "expired"})


def _style(cell: object) -> str:
    return "green" if cell in GOOD else "red" if cell in BAD else ""
