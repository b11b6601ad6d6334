"""Clients that follow Retry-After, users and services notice nothing of rolling restarts. scripts/chaos has ten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rolling_restarts import roll

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

RESTARTS = 2
TWO_MANAGERS_MAX = 2.0
"""Seconds."""


async def test_nothing_is_lost_and_no_request_fails_in_rolling_restarts(tmp_path: Path) -> None:
    outcome = await roll(tmp_path, RESTARTS)
    print(outcome)
    assert (outcome.failed, outcome.lost) == ([], [])
    assert outcome.two_managers <= TWO_MANAGERS_MAX
