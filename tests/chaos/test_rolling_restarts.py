"""Clients that follow Retry-After, users and services notice nothing of rolling restarts. scripts/chaos has ten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rolling_restarts import roll

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

RESTARTS = 2


@pytest.mark.parametrize("has_state_dir", [True, False], ids=["STATE_DIR", "no STATE_DIR"])
async def test_nothing_is_lost_and_no_request_fails_in_rolling_restarts(tmp_path: Path, has_state_dir: bool) -> None:
    outcome = await roll(tmp_path, RESTARTS, has_state_dir=has_state_dir)
    print(outcome)
    assert outcome.broken == []
