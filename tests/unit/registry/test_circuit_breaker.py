"""The circuit breaker of an instance, in virtual time."""

from __future__ import annotations

from functools import reduce

import pytest

from manager_agent.registry.circuit_breaker import FAILURES_MAX, TRIAL_TIMEOUT, Breaker

pytestmark = pytest.mark.unit


def failing(breaker: Breaker, *instants: float) -> Breaker:
    return reduce(lambda broken, at: broken.failed(at, may_suspend=True), instants, breaker)


def test_five_failures_in_a_row_suspend_an_instance_for_thirty_seconds() -> None:
    four = failing(Breaker(), *range(FAILURES_MAX - 1))
    assert (four.closed, four.admits(4)) == (True, True)
    five = failing(four, 4)
    assert (five.suspended_until, five.admits(33.9), five.admits(34)) == (34, False, True)


def test_a_suspended_instance_gets_one_trial_when_its_time_is_over() -> None:
    """And another only if no outcome of the first is reported."""
    due = failing(Breaker(), *range(5))
    trying = due.chosen(40)
    assert (due.admits(40), trying.admits(40), trying.chosen(41)) == (True, False, trying)
    assert trying.admits(40 + TRIAL_TIMEOUT)
    assert Breaker().chosen(40) == Breaker()


def test_every_failed_trial_doubles_the_suspension_up_to_five_minutes() -> None:
    breaker, now, lengths = failing(Breaker(), *[0.0] * 5), 0.0, []
    for _ in range(12):
        assert breaker.suspended_until is not None
        lengths.append(breaker.suspended_until - now)
        now = breaker.suspended_until
        breaker = failing(breaker.chosen(now), now)
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_failures_of_earlier_calls_do_not_count_during_a_suspension() -> None:
    five = failing(Breaker(), *range(5))
    assert failing(five, 5, 6, 33) == five


def test_failures_of_the_only_instance_are_counted_without_suspension() -> None:
    """As soon as there is another instance, the next failure suspends."""
    last = reduce(lambda broken, at: broken.failed(at, may_suspend=False), range(9), Breaker())
    assert (last.closed, last.failures) == (True, 9)
    assert failing(last, 9).suspended_until == 39


def test_a_failed_trial_of_the_only_instance_can_be_repeated_at_once() -> None:
    trying = failing(Breaker(), *range(5)).chosen(40)
    assert trying.failed(41, may_suspend=False).admits(41)
