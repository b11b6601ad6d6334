"""Simulate many sessions on many replicas: `scripts/simulate`. Prints what came of it and a digest, which is the same
for the same seed. A history that breaks an invariant is shrunk to a short one and printed; then it exits with 1."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from tests.simulation.history import NODES, RATE, SESSIONS, FaultKind, History, drawn
from tests.simulation.invariants import violations_by_kind
from tests.simulation.shrinking import shrunk
from tests.simulation.world import SimulationOutcome, World

SHOWN = 3
PROGRESS_INTERVAL = 30.0
"""Seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, from --seed on")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--nodes", type=int, default=NODES, help="replicas of the session manager")
    parser.add_argument("--rate", type=float, default=RATE, help="sessions asked for in a second, by each replica")
    parser.add_argument("--faults", nargs="*", choices=[kind.name.lower() for kind in FaultKind], help="only these")
    parser.add_argument("--no-shrink", action="store_true", help="do not shrink a history that fails")
    chosen = parser.parse_args(arguments)
    kinds = tuple(FaultKind) if chosen.faults is None else tuple(FaultKind[name.upper()] for name in chosen.faults)
    failed = 0
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        history = drawn(seed, nodes=chosen.nodes, sessions=chosen.sessions, rate=chosen.rate, kinds=kinds)
        failed += not _simulated(history, shrinks=not chosen.no_shrink)
    return 1 if failed else 0


def _simulated(history: History, *, shrinks: bool) -> bool:
    began, cpu = time.perf_counter(), time.process_time()
    outcome = World(history).run(_shows_progress())
    cpu_ms = 1_000 * (time.process_time() - cpu) / max(1, len(history.sessions))
    print(described(history, outcome, time.perf_counter() - began, cpu_ms), flush=True)
    if not outcome.violations:
        return True
    for invariant, found in violations_by_kind(outcome.violations).items():
        print(f"{len(found)} times: {invariant}")
        print(*found[:SHOWN], sep="\n")
    if shrinks:
        short = shrunk(history, outcome.violations[0])
        print(f"the shortest history that does it, of {short.runs} tried:", short.history, short.violation, sep="\n")
    return False


def _shows_progress() -> Callable[[World], None]:
    """Prints how far a long run is, every now and then."""
    shown_at = time.monotonic()

    def show(world: World) -> None:
        nonlocal shown_at
        if time.monotonic() > shown_at + PROGRESS_INTERVAL:
            shown_at = time.monotonic()
            live = sum(world.redis.live_by_owner.values())
            print(f"... {world.since_start:.0f} s simulated, {live} sessions are live", file=sys.stderr, flush=True)

    return show


def described(history: History, outcome: SimulationOutcome, seconds: float, cpu_ms: float) -> str:
    """One line on the run, and one on its sessions. `cpu_ms`: what each session took of one core."""
    each = max(1, len(history.sessions))
    ends = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome.reasons.items()))
    return (
        f"seed {history.seed}: {len(history.sessions)} sessions on {history.nodes} replicas, {len(history.faults)}"
        f" faults, {outcome.lasted:.0f} s simulated in {seconds:.1f} s: {len(outcome.violations)} violations,"
        f" digest {outcome.digest}\n"
        f"  {outcome.acknowledged} acknowledged, {outcome.tokens} tokens, {outcome.takes} times taken over or handed"
        f" over, {outcome.recovered} recovered from rooms; a session needs {outcome.writes / each:.1f} writes,"
        f" {outcome.commands / each:.1f} commands, {outcome.acts / each:.1f} acts, {cpu_ms:.1f} ms of CPU;"
        f" ends: {ends}"
    )


if __name__ == "__main__":
    sys.exit(main())
