"""The figures of a run as an SVG picture: one curve over the cycles for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.live.soak.figures import ResourceUse

CURVES = {"uss": 1e6, "allocated": 1e6, "objects": 1, "tasks": 1, "threads": 1, "files": 1, "rooms": 1}
"""By what each figure is divided."""
WIDTH, HEIGHT, LEFT, GAP = 800, 110, 110, 30


def plot(seen: Sequence[ResourceUse], path: Path) -> None:
    height = len(CURVES) * (HEIGHT + GAP) + GAP
    panels = "".join(_panel(seen, name, GAP + row * (HEIGHT + GAP)) for row, name in enumerate(CURVES))
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{panels}</svg>\n'
    )


def _panel(seen: Sequence[ResourceUse], name: str, top: float) -> str:
    values = [getattr(one, name) / CURVES[name] for one in seen]
    most, last = max(*values, 1), max(seen[-1].cycles, 1)
    width = WIDTH - LEFT - 20
    points = " ".join(
        f"{LEFT + width * one.cycles / last:.1f},{top + HEIGHT * (1 - value / most):.1f}"
        for one, value in zip(seen, values, strict=True)
    )
    label = name if CURVES[name] == 1 else f"{name} (MB)"
    return (
        f'<rect x="{LEFT}" y="{top}" width="{width}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
        f'<text x="5" y="{top + 14}">{label}</text><text x="5" y="{top + 32}">{most:.4g}</text>'
        f'<text x="{LEFT}" y="{top + HEIGHT + 14}">0 to {last} cycles</text>'
        f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>'
    )
