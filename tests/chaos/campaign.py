"""Many runs, and tables of their outcomes:

python -m tests.chaos.campaign [--seed SEED] [--count COUNT] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import percentile
from tests.chaos.chaos_site import ChaosSite
from tests.chaos.disturbances import KILL
from tests.chaos.kill_points import FIRST_FAULT, KillPoint, fault_points, kill_points
from tests.chaos.run import Outcome, run_once

COUNT = 60
COLUMNS = {
    "lost": "no acknowledged session is lost",
    "early tokens": "no token early",
    "double managers": "one manager per room",
    "rooms left": "no room is left",
}
"""The promises that have a column of their own."""

LATE_KILLS_MAX = 1 / 6
"""The share of the kill points whose moments need not come. Each other fault has one point, whose moment must come."""
TIMES = ("listens p50 s", "max s", "all answered p50 s", "max s ")
"""From the strike until the next process listens, and from then until every acknowledged session is answered."""


async def run_all(points: Sequence[KillPoint], folder: Path, outcomes: list[Outcome]) -> None:
    """Run them one after the other, and append their outcomes. What breaks is printed at once, with the command to
    repeat it."""
    async with ChaosSite(folder) as site:
        for point in points:
            began = time.monotonic()
            outcome = await run_once(site, point)
            outcomes.append(outcome)
            late = "" if outcome.is_on_time else ", the moment did not come"
            starved = ", the machine was starved" if outcome.is_starved else ""
            took = time.monotonic() - began
            print(f"{point}: {len(outcome.violations)} broken, {took:.0f} s{late}{starved}", flush=True)
            for violation in outcome.violations:
                print(f"    {violation}\n    repeat it: {point.command}", flush=True)


def show(title: str, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    table = Table(title=f"{title} at {len(outcomes)} points, seed {outcomes[0].point.seed}")
    for heading in ("kind", "runs", "late", "starved", "acknowledged", *COLUMNS, "other", *TIMES):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    kinds = list(dict.fromkeys(outcome.point.kind for outcome in outcomes))
    for kind in [*kinds, "all"]:
        ours = [outcome for outcome in outcomes if kind in (outcome.point.kind, "all")]
        broken = [violation.promise for outcome in ours for violation in outcome.violations]
        named = [broken.count(promise) for promise in COLUMNS.values()]
        times = [outcome.listening_after for outcome in ours], [outcome.answered_after for outcome in ours]
        shown = [f"{value:.1f}" for some in times for value in (percentile(some, 50), max(some))]
        late, starved = len(late_ones(ours)), sum(outcome.is_starved for outcome in ours)
        acknowledged = sum(outcome.acknowledged for outcome in ours)
        row = (len(ours), late, starved, acknowledged, *named, len(broken) - sum(named))
        table.add_row(kind, *map(str, row), *shown)
    Console(width=150).print(table)


def late_ones(outcomes: Sequence[Outcome]) -> list[KillPoint]:
    """The points whose moments never came: they prove nothing."""
    return [outcome.point for outcome in outcomes if not outcome.is_on_time]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=secrets.token_hex(3), help="of the whole campaign")
    parser.add_argument("--count", type=int, default=COUNT, help="number of kill points, before the faults")
    parser.add_argument("--only", type=int, help="run the point with this number alone")
    parser.add_argument("--logs", type=Path, help="an empty folder for the logs")
    asked = parser.parse_args()
    points = [*kill_points(asked.seed, asked.count), *fault_points(asked.seed)]
    if asked.only is not None:
        all_points = [*kill_points(asked.seed, FIRST_FAULT), *fault_points(asked.seed)]
        points = [point for point in all_points if point.number == asked.only]
    outcomes: list[Outcome] = []
    # Ctrl-C shows what there is, and so does a panic of the SDK, which sends SIGTERM to its process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary, suppress(KeyboardInterrupt):
        asyncio.run(run_all(points, asked.logs or Path(temporary), outcomes))
    kills = [outcome for outcome in outcomes if outcome.point.disturbance == KILL]
    others = [outcome for outcome in outcomes if outcome.point.disturbance != KILL]
    show(KILL, kills)
    show("other faults", others)
    is_on_time = len(late_ones(kills)) <= LATE_KILLS_MAX * len(kills) and not late_ones(others)
    is_complete = len(outcomes) == len(points) and is_on_time
    return 0 if is_complete and not any(outcome.violations for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
