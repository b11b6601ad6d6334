"""Each fault of a cluster once under load, and a table of what came of it:

python -m tests.chaos.cluster.cluster_campaign [--seed SEED] [--rate SESSIONS_A_SECOND] [--only FAULT] [--logs FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.cluster.checked_caller import PROMISE
from tests.chaos.cluster.cluster_faults import CLUSTER_FAULTS
from tests.chaos.cluster.cluster_run import ClusterOutcome, run_on_cluster
from tests.chaos.cluster.cluster_site import ClusterSite

RATE = 2.0
"""Sessions a second."""
COLUMNS = {
    "lost": "no acknowledged session is lost",
    "early tokens": "no token early",
    "double owners": "one owner per session",
    "double managers": "one manager per room",
    "no Retry-After": PROMISE,
    "rooms left": "no room is left",
}
"""The promises that have a column of their own."""


async def run_faults(
    faults: Sequence[str], seed: str, folder: Path, outcomes: list[ClusterOutcome], *, rate: float
) -> None:
    """Run them one after the other on one cluster, and append their outcomes. What breaks is printed at once."""
    async with ClusterSite(folder) as site:
        for fault in faults:
            outcome = await run_on_cluster(site, fault, seed, rate=rate)
            outcomes.append(outcome)
            starved = ", the machine was starved" if outcome.is_starved else ""
            print(f"{fault}: {len(outcome.violations)} broken, {outcome.took:.0f} s{starved}", flush=True)
            for violation in outcome.violations:
                print(f"    {violation}\n    repeat it: {outcome.command}", flush=True)


def show(outcomes: Sequence[ClusterOutcome], rate: float) -> None:
    seed = outcomes[0].seed if outcomes else ""
    load = f"up to {rate:g} sessions a second of 3 services and a user"
    table = Table(title=f"3 replicas, 2 LiveKit nodes, {load}, seed {seed}")
    counts = "sessions", "a second", "room acts", *COLUMNS, "other", "503s", "broken off"
    for heading in ("fault", *counts, "without manager s", "s"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for outcome in outcomes:
        broken = [violation.promise for violation in outcome.violations]
        named = [broken.count(promise) for promise in COLUMNS.values()]
        numbers = outcome.sessions, f"{outcome.rate:.1f}", outcome.acts, *named, len(broken) - sum(named)
        refused = outcome.answers[HTTPStatus.SERVICE_UNAVAILABLE], outcome.broken
        times = f"{outcome.without_manager:.1f}", f"{outcome.took:.0f}"
        table.add_row(outcome.fault, *map(str, (*numbers, *refused)), *times)
    Console(width=180).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=secrets.token_hex(3))
    parser.add_argument("--rate", type=float, default=RATE, help="sessions a second, at most")
    parser.add_argument("--only", choices=CLUSTER_FAULTS, help="run this fault alone")
    parser.add_argument("--logs", type=Path, help="an empty folder for the logs")
    asked = parser.parse_args()
    faults = [asked.only] if asked.only else list(CLUSTER_FAULTS)
    outcomes: list[ClusterOutcome] = []
    # Ctrl-C shows what there is, and so does a panic of the SDK, which sends SIGTERM to its process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary, suppress(KeyboardInterrupt):
        folder = asked.logs or Path(temporary)
        asyncio.run(run_faults(faults, asked.seed, folder, outcomes, rate=asked.rate))
    show(outcomes, asked.rate)
    return 0 if len(outcomes) == len(faults) and not any(outcome.violations for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
