"""One run: load on the cluster, a fault in its midst, and the audit."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.chaos.cluster.cluster_faults import CLUSTER_FAULTS
from tests.chaos.cluster.cluster_load import ClusterLoad
from tests.chaos.cluster.cluster_site import ClusterSite
from tests.chaos.ledger import Violation
from tests.chaos.settling import all_are_ready, audit, end_all, notice_starvation, settle
from tests.live.replicas.act_audit import acts_of, double_owners

AROUND = 8.0
"""Seconds of load before the fault, and again after everything runs again."""


@dataclass(slots=True)
class ClusterOutcome:
    fault: str
    seed: str
    sessions: int = 0
    """Acknowledged ones."""
    rate: float = 0.0
    """Sessions that were asked for in a second, while there was load."""
    acts: int = 0
    """What owners did to rooms, each with its fencing number."""
    is_starved: bool = False
    without_manager: float = 0.0
    """The most seconds for which a room whose manager had come had none."""
    took: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    """By status."""
    broken: int = 0
    """Requests whose connection ended without an answer. Clients repeat them."""
    violations: list[Violation] = field(default_factory=list)

    @property
    def command(self) -> str:
        """Repeats it."""
        return f"scripts/chaos --cluster --seed {self.seed} --only '{self.fault}'"


async def run_on_cluster(
    site: ClusterSite, fault: str, seed: str, *, rate: float, around: float = AROUND, most: float = math.inf
) -> ClusterOutcome:
    """Run it to its end. Breaches are in the outcome. `rate`: sessions a second. `most`: the number of sessions."""
    outcome, ledger, began = ClusterOutcome(fault, seed), site.ledger, time.monotonic()
    site.begin_run()
    site.api.answers.clear()
    site.api.broken = 0
    site.watch.longest_without = 0.0
    random = Random(f"{seed}/{fault}")
    load = ClusterLoad(site, random, rate, most)
    watching = asyncio.create_task(notice_starvation(ledger))
    loading = asyncio.create_task(load.run(), name="load")
    try:
        await asyncio.sleep(around)
        await CLUSTER_FAULTS[fault](site, random)
        await asyncio.sleep(around)
        loading.cancel()
        outcome.rate = load.rate_reached
        await settle(site, load.running, load.clients)
        await all_are_ready(site)
        await audit(site, load.clients)
    finally:
        loading.cancel()
        for task in load.running:
            task.cancel()
        await asyncio.wait(load.running)
        outcome.without_manager = site.watch.longest_without
        await end_all(site, load.clients)
    watching.cancel()
    acts = [act for act in acts_of(site.deployed.ever) if act.session_id in ledger.sessions]
    for what in double_owners(acts):
        ledger.breaks("one owner per session", what)
    outcome.sessions, outcome.acts, outcome.is_starved = len(ledger.sessions), len(acts), ledger.is_starved
    outcome.answers, outcome.broken = Counter(site.api.answers), site.api.broken
    outcome.violations, outcome.took = list(ledger.violations), time.monotonic() - began
    return outcome
