"""How long LiveKit keeps a room without humans."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.livekit.server_api import room_timeout
from manager_agent.session.session import Limits

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("seconds", [0.5, 120.0])
def test_a_room_outlives_its_manager_by_two_minutes_however_short_the_waits_are(seconds: float) -> None:
    limits = replace(Limits(), ready_timeout=seconds, user_join_timeout=seconds, user_rejoin_timeout=seconds)
    longest_wait = limits.ready_timeout + limits.user_join_timeout
    assert room_timeout(limits) >= longest_wait + 120
