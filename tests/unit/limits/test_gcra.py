"""Rate limits: requests a second, and bursts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api.limits.gcra import Allowances, Rate
from http_api.limits.rate_limits import address_of
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

RATE = Rate(per_second=10, burst=5)
START = 1_766_400_000.0  # as large as today's, so that rounding is the same


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def allowances(clock: VirtualClock) -> Allowances:
    return Allowances(RATE, clock)


def taken(allowances: Allowances, times: int, name: str = "a") -> int:
    """How many of so many requests passed."""
    return sum(allowances.take(name).granted for _ in range(times))


def test_a_burst_passes_and_the_request_after_it_is_refused(allowances: Allowances) -> None:
    assert taken(allowances, 20) == RATE.burst


def test_one_more_request_passes_after_each_interval(allowances: Allowances, clock: VirtualClock) -> None:
    taken(allowances, 20)
    for _ in range(30):
        clock.now += RATE.interval
        assert taken(allowances, 3) == 1


def test_a_caller_silent_for_a_window_has_one_whole_burst_again(allowances: Allowances, clock: VirtualClock) -> None:
    for silence in (RATE.window, 10 * RATE.window, 1e6):
        taken(allowances, 20)
        clock.now += silence
        assert taken(allowances, 20) == RATE.burst


def test_rate_limits_of_two_callers_are_independent(allowances: Allowances) -> None:
    taken(allowances, 20, "a")
    assert taken(allowances, 20, "b") == RATE.burst


def test_a_refused_request_does_not_count_against_the_rate_limit(allowances: Allowances, clock: VirtualClock) -> None:
    """Otherwise a client that retries too soon would never pass again."""
    taken(allowances, 1_000)
    clock.now += RATE.interval
    assert allowances.take("a").granted


def test_peeking_at_a_rate_limit_takes_nothing_and_gives_the_same_verdict(allowances: Allowances) -> None:
    for left in range(RATE.burst, 0, -1):
        assert all(allowances.look("a").granted for _ in range(3))
        assert allowances.look("a").remaining == left
        allowances.take("a")
    assert not allowances.look("a").granted


def test_a_refusal_says_after_how_long_the_request_would_pass(allowances: Allowances, clock: VirtualClock) -> None:
    taken(allowances, RATE.burst)
    refused = allowances.take("a")
    assert not refused.granted
    assert refused.retry_after == pytest.approx(RATE.interval, abs=1e-5)
    clock.now += refused.retry_after
    assert allowances.take("a").granted


def test_rate_limit_headers_give_policy_and_state(allowances: Allowances, clock: VirtualClock) -> None:
    """100 in 2 seconds is 50 a second."""
    allowances = Allowances(Rate(50, 100), clock)
    assert allowances.take("a").headers() == {
        "RateLimit-Policy": '"default";q=100;w=2',
        "RateLimit": '"default";r=99;t=1',
    }
    taken(allowances, 99)
    assert allowances.take("a").headers()["RateLimit"] == '"default";r=0;t=1'


def test_the_reset_of_a_refused_request_is_when_it_may_be_repeated(clock: VirtualClock) -> None:
    """The whole burst takes longer."""
    allowances = Allowances(Rate(0.1, 3), clock)
    taken(allowances, 2)
    assert allowances.take("a").headers()["RateLimit"] == '"default";r=0;t=30'
    refused = allowances.take("a")
    assert refused.headers()["RateLimit"] == '"default";r=0;t=10'
    assert refused.retry_after == pytest.approx(10, abs=1e-5)


def test_a_caller_with_its_whole_burst_available_is_forgotten(clock: VirtualClock) -> None:
    """The table holds callers in debt, and a few more."""
    allowances = Allowances(RATE, clock)
    for n in range(1_000):
        allowances.take(f"caller {n}")
        clock.now += RATE.interval
    assert len(allowances) <= 3


def test_a_caller_is_forgotten_at_the_instant_at_which_its_requests_are_paid_off(clock: VirtualClock) -> None:
    allowances = Allowances(Rate(per_second=1, burst=5), clock)
    allowances.take("first")
    clock.now += 1.0
    allowances.take("second")
    assert len(allowances) == 1


def test_the_rate_limit_table_is_bounded_and_evicts_the_least_recently_seen(clock: VirtualClock) -> None:
    allowances = Allowances(RATE, clock, most=10)
    taken(allowances, RATE.burst, "first")
    taken(allowances, RATE.burst, "second")
    for n in range(7):
        allowances.take(f"{n}")
    assert not allowances.look("first").granted
    clock.now += RATE.interval
    assert allowances.take("first").granted, "is now the one seen last"
    for n in range(2):
        taken(allowances, 5, f"more {n}")
    assert len(allowances) <= 10
    assert not allowances.look("first").granted
    assert allowances.look("second").remaining == RATE.burst, "was forgotten"


@given(
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=200),
    per_second=st.floats(0.1, 1_000),
    burst=st.integers(1, 50),
)
def test_no_window_of_time_has_more_requests_than_the_rate_allows(
    pauses: list[float], per_second: float, burst: int
) -> None:
    """Whatever the pattern: between any two requests that passed there are at most burst + rate * time."""
    clock = VirtualClock(START)
    allowances = Allowances(Rate(per_second, burst), clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        if allowances.take("a").granted:
            passed.append(clock.now)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            assert last - first + 1 <= burst + per_second * (end - start) + 0.01


@pytest.mark.parametrize(
    ("remote", "stands_for"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_ip_address_is_limited_together_with_the_prefix_of_its_owner(remote: str | None, stands_for: str) -> None:
    assert address_of(remote) == stands_for
