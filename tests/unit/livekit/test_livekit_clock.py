"""LiveKit's time is learned from the Date of its answers, as far as it fits which tokens LiveKit accepts."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from manager_agent.livekit.livekit_clock import LiveKitClock

pytestmark = pytest.mark.unit

NOW, HOUR = 1_700_000_000.0, 3600.0


def answered(ahead: float, *, is_accepted: bool) -> LiveKitClock:
    """The clock after an answer whose Date is ahead of it by so many seconds."""
    clock = LiveKitClock(lambda: NOW)
    date = formatdate(NOW + ahead, usegmt=True)
    assert clock.learn({"Date": date}, NOW, is_accepted=is_accepted) == (clock.ahead != 0)
    return clock


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_the_date_of_a_refusal_is_believed(ahead: float) -> None:
    assert answered(ahead, is_accepted=False)() == pytest.approx(NOW + ahead, abs=1)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_an_hour_off_in_an_answer_that_accepts_the_token_is_not_livekits_time(ahead: float) -> None:
    assert answered(ahead, is_accepted=True).ahead == 0


@pytest.mark.parametrize("ahead", [30, -30])
def test_small_differences_are_learned_while_livekit_accepts_tokens(ahead: float) -> None:
    assert answered(ahead, is_accepted=True).ahead == pytest.approx(ahead, abs=1)


@pytest.mark.parametrize("ahead", [0, 1, -1])
def test_the_resolution_of_the_date_is_no_difference(ahead: float) -> None:
    assert answered(ahead, is_accepted=True).ahead == 0
    assert answered(ahead, is_accepted=False).ahead == 0


def test_an_answer_without_a_date_teaches_nothing() -> None:
    clock = LiveKitClock(lambda: NOW)
    assert not clock.learn({}, NOW, is_accepted=False)
    assert not clock.learn({"Date": "noon"}, NOW, is_accepted=False)
    assert clock() == NOW
