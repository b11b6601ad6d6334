"""A short form of scripts/chaos --cluster: a replica is killed and Redis restarts while sessions come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cluster.cluster_campaign import run_faults
from tests.chaos.cluster.cluster_run import ClusterOutcome
from tests.redis_server import require_redis

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SEED, RATE = "short", 0.5


@pytest.mark.parametrize("fault", ["kill -9 a replica", "restart Redis"])
async def test_nothing_acknowledged_is_lost_on_a_cluster(fault: str, tmp_path: Path) -> None:
    require_redis()
    outcomes: list[ClusterOutcome] = []
    await run_faults([fault], SEED, tmp_path, outcomes, rate=RATE)
    [outcome] = outcomes
    assert [f"{violation}; repeat it: {outcome.command}" for violation in outcome.violations] == []
    assert outcome.sessions
    assert outcome.acts
