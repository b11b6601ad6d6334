"""A short form of scripts/chaos --cluster: a replica is killed while sessions come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cluster.cluster_run import run_on_cluster
from tests.chaos.cluster.cluster_site import ClusterSite
from tests.redis_server import require_redis

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SEED, RATE, AROUND, SESSIONS = "short", 1.0, 3.0, 6


async def test_nothing_acknowledged_is_lost_on_a_cluster(tmp_path: Path) -> None:
    require_redis()
    async with ClusterSite(tmp_path, replicas=2) as site:
        outcome = await run_on_cluster(site, "kill -9 a replica", SEED, rate=RATE, around=AROUND, most=SESSIONS)
    assert [f"{violation}; repeat it: {outcome.command}" for violation in outcome.violations] == []
    assert outcome.sessions
    assert outcome.acts
