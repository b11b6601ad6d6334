"""kill -9 of the session manager at a dozen moments: nothing that was acknowledged is lost. A failure prints how to
repeat it. scripts/chaos has many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import run_all
from tests.chaos.kill_points import kill_points

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SEED, PARTS, POINTS = "dozen", 3, 12


@pytest.mark.parametrize("part", range(PARTS))
async def test_nothing_acknowledged_is_lost_by_a_kill(part: int, tmp_path: Path) -> None:
    points = kill_points(SEED, POINTS)[part::PARTS]
    outcomes = await run_all(points, tmp_path)
    broken = [
        f"{outcome.point}: {violation}; repeat it: {outcome.point.command}"
        for outcome in outcomes
        for violation in outcome.violations
    ]
    assert broken == []
