"""docs/performance.svg: how far each figure is from its floor, and where it is to be.

It is text, made of nothing but the results, so the same results make the same file. Its colors follow the reader's
choice of light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.asked import AskedRow, found
from benchmarks.result import BenchmarkResult, Compared, Goal
from benchmarks.tables import NOT_MEASURED, ratio
from scripts.repository import ROOT

PLOT = ROOT / "docs/performance.svg"
WIDTH, LABELS, RIGHT = 960, 430, 90
"""Pixels: of all, of the column of labels, and of the margin for the numbers."""
ROW, TOP, BOTTOM = 22, 48, 30
BAR = 12
LABEL_MAX = 66
"""Characters."""
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .scale { fill: #59636e }
  .grid { stroke: #d1d9e0 }
  .floor { stroke: #59636e }
  tspan { font-weight: 600 }
  .reached { fill: #1a7f37 } .missed { fill: #bc4c00 } .stated { fill: #8c959f }
  .goal { stroke: #0969da; stroke-width: 3 }
  .goal-text { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .scale { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .floor { stroke: #9198a1 }
    tspan { font-weight: 600 }
  .reached { fill: #3fb950 } .missed { fill: #f0883e } .stated { fill: #6e7681 }
    .goal { stroke: #58a6ff }
    .goal-text { fill: #58a6ff }
  }
"""


@dataclass(frozen=True, slots=True)
class PlottedBar:
    label: str
    ratio: float
    verdict: str
    goal: float | None
    """The ratio that is to be reached."""


def bars(rows: Sequence[AskedRow], results: Sequence[BenchmarkResult]) -> Iterator[PlottedBar]:
    """The figures that are compared with a floor, once each."""
    seen = set()
    for one in (one for row in rows for key in row.figures for one in found(key, results)):
        is_p99 = one.figure.goal is not None and one.figure.goal.of in (Compared.P99_RATIO, Compared.P99_MORE)
        value = one.table.compared(one.figure, Compared.P99_RATIO if is_p99 else Compared.RATIO)
        label = f"{one.result.name}: {one.name}{', p99' if is_p99 else ''}"
        if value is not None and value > 0 and label not in seen:
            seen.add(label)
            yield PlottedBar(label, value, one.verdict, _goal_ratio(one.figure.goal))


def _goal_ratio(goal: Goal | None) -> float | None:
    if goal is None or goal.of not in (Compared.RATIO, Compared.P99_RATIO):
        return None
    return goal.least if goal.most is None else goal.most


def plot(rows: Sequence[AskedRow], results: Sequence[BenchmarkResult]) -> str:
    """The whole file."""
    plotted = list(bars(rows, results))
    height = TOP + ROW * max(len(plotted), 1) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' role="img" aria-label="Ratios to the floors">',
        f"<style>{STYLE}</style>",
        '<text class="title" x="8" y="20">Ratio to the floor or peer of the same run, which is 1; log scale</text>',
        '<text x="8" y="38"><tspan class="goal-text">blue: the goal</tspan>, <tspan class="reached">reached</tspan>,'
        ' <tspan class="missed">missed</tspan>, <tspan class="stated">without a goal</tspan></text>',
    ]
    lines += _drawn(plotted, height) if plotted else [f'<text x="8" y="{TOP + ROW}">{NOT_MEASURED}</text>']
    return "\n".join([*lines, "</svg>", ""])


def _drawn(plotted: Sequence[PlottedBar], height: int) -> Iterator[str]:
    ends = [1.0, *(bar.ratio for bar in plotted), *(bar.goal for bar in plotted if bar.goal)]
    first, last = math.floor(math.log10(min(ends)) * 2) / 2, math.ceil(math.log10(max(ends)) * 2) / 2
    span = (WIDTH - LABELS - RIGHT) / max(last - first, 0.5)

    def x(value: float) -> str:
        return f"{LABELS + (math.log10(value) - first) * span:.1f}"

    for exponent in range(math.ceil(first), math.floor(last) + 1):
        value = 10.0**exponent
        kind = "floor" if exponent == 0 else "grid"
        yield f'<line class="{kind}" x1="{x(value)}" y1="{TOP - 4}" x2="{x(value)}" y2="{height - BOTTOM}"/>'
        yield f'<text class="scale" text-anchor="middle" x="{x(value)}" y="{height - 10}">{value:g}</text>'
    for number, bar in enumerate(plotted):
        top = TOP + ROW * number
        left, right = sorted((1.0, bar.ratio))
        width = max(float(x(right)) - float(x(left)), 1.0)
        label = bar.label if len(bar.label) <= LABEL_MAX else f"{bar.label[: LABEL_MAX - 1]}…"
        yield f'<text text-anchor="end" x="{LABELS - 8}" y="{top + BAR}">{escape(label)}</text>'
        yield f'<rect class="{bar.verdict}" x="{x(left)}" y="{top + 2}" width="{width:.1f}" height="{BAR}"/>'
        if bar.goal:
            yield f'<line class="goal" x1="{x(bar.goal)}" y1="{top}" x2="{x(bar.goal)}" y2="{top + BAR + 4}"/>'
        yield f'<text x="{WIDTH - RIGHT + 8}" y="{top + BAR}">{ratio(bar.ratio)}</text>'
