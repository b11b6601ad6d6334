"""kill -9 of the session manager at a dozen moments, and each other fault once: nothing that was acknowledged is lost.
A failure prints how to repeat it. scripts/chaos has many more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.campaign import late_ones, run_all
from tests.chaos.kill_points import KillPoint, fault_points, kill_points
from tests.chaos.run import Outcome

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SEED, PARTS, POINTS = "dozen", 3, 12
LATE_KILLS_MAX = 1
"""Kill points of one part whose moments need not come."""


@pytest.mark.parametrize("part", range(PARTS))
async def test_nothing_acknowledged_is_lost_by_a_kill(part: int, tmp_path: Path) -> None:
    outcomes = await kept_all_promises(kill_points(SEED, POINTS)[part::PARTS], tmp_path)
    assert len(late_ones(outcomes)) <= LATE_KILLS_MAX


@pytest.mark.parametrize("part", range(PARTS))
async def test_nothing_acknowledged_is_lost_by_other_faults(part: int, tmp_path: Path) -> None:
    outcomes = await kept_all_promises(fault_points(SEED)[part::PARTS], tmp_path)
    assert late_ones(outcomes) == []


async def kept_all_promises(points: Sequence[KillPoint], folder: Path) -> Sequence[Outcome]:
    outcomes: list[Outcome] = []
    await run_all(points, folder, outcomes)
    broken = [
        f"{outcome.point}: {violation}; repeat it: {outcome.point.command}"
        for outcome in outcomes
        for violation in outcome.violations
    ]
    assert broken == []
    return outcomes
