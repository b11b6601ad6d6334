"""The audit of what replicas did to rooms."""

from __future__ import annotations

import pytest

from tests.live.replicas.act_audit import RoomAct, double_owners

pytestmark = pytest.mark.unit


def act(at: float, fence: int, process: str, session_id: str = "ses_1") -> RoomAct:
    return RoomAct(at, "update_room_metadata", session_id, fence, process)


def test_owners_one_after_the_other_are_well() -> None:
    acts = [act(1, 1, "a"), act(2, 1, "a"), act(3, 2, "b"), act(4, 3, "a"), act(3.5, 1, "a", "ses_2")]
    assert double_owners(reversed(acts)) == []


def test_an_act_after_the_next_owner_began_is_found() -> None:
    [found] = double_owners([act(1, 1, "a"), act(2, 2, "b"), act(3.5, 1, "a")])
    assert "came 1.500 s after" in found


def test_a_fencing_number_of_two_processes_is_found() -> None:
    [found] = double_owners([act(1, 1, "a"), act(2, 1, "b")])
    assert "both had the fencing number 1" in found
