"""Who is in the room, while the SDK loses and restores its connection."""

from __future__ import annotations

import pytest

from manager_agent.livekit.attendance import Attendance
from manager_agent.session.events import ParticipantInfo

pytestmark = pytest.mark.unit

ALICE, BOB = ParticipantInfo("alice", "PA_1"), ParticipantInfo("bob", "PA_2")


def test_leaves_that_the_sdk_reports_while_it_reconnects_are_judged_afterwards() -> None:
    attendance = Attendance()
    for participant in (ALICE, BOB):
        attendance.seen(participant)
    attendance.reconnecting()
    assert [attendance.left(participant.sid) for participant in (ALICE, BOB)] == [False, False]
    assert attendance.reconnected(["PA_2", "PA_3"]) == [ALICE]
    assert attendance.left("PA_2")
    assert attendance.reconnected([]) == []
