"""By how much the instants of a record are shifted when its session is continued by a process with another clock."""

from __future__ import annotations

import pytest

from manager_agent.clock_origin import ClockOrigin
from manager_agent.control.recorded_session import clock_ahead
from manager_agent.session.progress import SessionProgress

pytestmark = pytest.mark.unit

HERE, CREATED, HOUR = ClockOrigin("here", 1_000.0), 1_700_000_000.0, 3600.0


def ahead(recorded: ClockOrigin | None, *, room_created: float = CREATED, livekit_ahead: float = 0.0) -> float:
    """The seconds by which our clock is ahead of a record that was made by this clock. LiveKit made the room at CREATED
    by its own clock."""
    progress = SessionProgress(
        clock=recorded, created=room_created - 1, state_since=room_created, room_created=room_created
    )
    return clock_ahead(progress, CREATED, HERE, livekit_ahead)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 0.5, 0.0])
def test_clocks_of_one_machine_are_compared(seconds: float) -> None:
    assert ahead(ClockOrigin("here", HERE.at - seconds), livekit_ahead=HOUR) == seconds


@pytest.mark.parametrize("seconds", [1e-6, -1e-6, 0.05])
def test_clocks_that_drift_apart_leave_what_was_shown_as_it_is(seconds: float) -> None:
    assert ahead(ClockOrigin("here", HERE.at - seconds)) == 0


@pytest.mark.parametrize("recorded", [ClockOrigin("there", 5.0), None])
@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_the_clock_of_another_machine_is_compared_through_livekits(
    recorded: ClockOrigin | None, seconds: float
) -> None:
    assert ahead(recorded, room_created=CREATED - seconds) == seconds
    assert ahead(recorded, livekit_ahead=-seconds) == seconds
    assert ahead(recorded, room_created=CREATED + seconds, livekit_ahead=-seconds) == 0


def test_a_room_that_took_long_to_create_shifts_nothing() -> None:
    assert ahead(ClockOrigin("there", 5.0), room_created=CREATED + 10) == 0
